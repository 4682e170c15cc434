"""The annotated types that routes ask for: the gateway, the caller with a scope, a page, labels."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes

from service.auth import Caller, ScopeName
from service.errors import FieldRefused, NotAllowed
from service.gateway import Gateway

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
RESERVED_NAMES = frozenset({"stats"})
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="`Authorization: Bearer hg_…`; scopes read, train, infer, admin.",
)


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def _allowed(
    request: Request, scopes: SecurityScopes, _bearer: Annotated[object, Depends(_bearer)]
) -> Caller:
    caller: Caller = request.state.caller
    for scope in scopes.scopes:
        wanted: ScopeName = scope  # type: ignore[assignment]  # FastAPI hands back the literals given below
        if not caller.may(wanted):
            raise NotAllowed(scope)
    return caller


def _looking(request: Request, _bearer: Annotated[object, Depends(_bearer)]) -> Caller:
    caller: Caller = request.state.caller
    if not (caller.may("read") or caller.may("infer")):
        raise NotAllowed("read")
    return caller


def _labels(
    label: Annotated[
        list[str] | None,
        Query(description="`key:value`; may be repeated, all must fit.", examples=[["team:vision"]]),
    ] = None,
) -> dict[str, str]:
    return read_labels(label or [])


House = Annotated[Gateway, Depends(_gateway)]
Reader = Annotated[Caller, Security(_allowed, scopes=["read"])]
Trainer = Annotated[Caller, Security(_allowed, scopes=["train"])]
Inferrer = Annotated[Caller, Security(_allowed, scopes=["infer"])]
# Whoever may infer may also see what there is to infer with.
Onlooker = Annotated[Caller, Security(_looking, scopes=["read"])]
Admin = Annotated[Caller, Security(_allowed, scopes=["admin"])]
LabelFilter = Annotated[dict[str, str], Depends(_labels)]
Limit = Annotated[int, Query(ge=1, le=500, description="Items of a page.")]
After = Annotated[str | None, Query(max_length=512, description="The `next` of the page before.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="The same key and body give the first answer again for a day.",
    ),
]


def read_labels(pairs: list[str], parameter: str = "label") -> dict[str, str]:
    """Labels from `key:value` texts.

    Raises:
        FieldRefused: one has no colon or no key.
    """
    labels = {}
    for pair in pairs:
        key, colon, value = pair.partition(":")
        if not colon or not key:
            raise FieldRefused([(("query", parameter), f"{pair!r} must read key:value")])
        labels[key] = value
    return labels
