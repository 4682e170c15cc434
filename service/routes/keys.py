"""Keys: issue, list, revoke."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from service.answers import Asked, Listing, created, fingerprint, once
from service.auth import ScopeName
from service.dependencies import Admin, After, House, IdempotencyKey, Limit
from service.json_route import JsonRoute
from service.problems import responses
from store import KeyRow, Keys

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=JsonRoute)

_KEY: dict[str, Any] = {
    "id": "key_06a5kx2m3v0000w8q4e6r2t9y1",
    "name": "notebook",
    "scopes": ["read", "infer"],
    "created_at": "2026-01-02T03:04:05Z",
    "expires_at": None,
    "revoked_at": None,
}


class KeyRequest(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "notebook", "scopes": ["read", "infer"]}]}
    )

    name: Annotated[str, Field(min_length=1, max_length=128)]
    scopes: Annotated[list[ScopeName], Field(min_length=1)]
    expires_at: AwareDatetime | None = None


class Key(BaseModel):
    """A key, without the secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})

    id: str
    name: str
    scopes: list[ScopeName]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class IssuedKey(Key):
    """A new key with its secret, which is shown this once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_KEY, "key": "hg_06a5kx2m3v0000w8q4e6r2t9y1_" + "x" * 43}]}
    )

    key: str = Field(
        "",
        description="Send it as `Authorization: Bearer …`; it cannot be shown again, and a repeat has none.",
    )


@router.post(
    "", status_code=201, summary="Issue a key", response_model=IssuedKey, responses=responses(409, 422)
)
def issue_key(
    body: KeyRequest, house: House, caller: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """The secret is in this answer alone; a repeat under the same Idempotency-Key comes without it."""
    secrets: list[str] = []

    def make(session: Session) -> Response:
        row, secret = Keys(session).issue(name=body.name, scopes=body.scopes, expires_at=body.expires_at)
        secrets.append(secret)
        return created(_key(row), 201, f"/v1/keys/{row.id}")

    asked = Asked("POST /v1/keys", idempotency_key, fingerprint(body.model_dump_json()))
    made = once(house.store, caller, asked, make)
    house.gatekeeper.forget()
    if not secrets:
        return made
    # Added after the answer was put away for a repeat: a secret is kept nowhere.
    issued = IssuedKey(**Key.model_validate_json(bytes(made.body)).model_dump(), key=secrets[0])
    return created(issued, 201, made.headers["location"], **{"Cache-Control": "no-store"})


@router.get("", summary="List the keys")
def list_keys(house: House, _: Admin, limit: Limit = 50, after: After = None) -> Listing[Key]:
    """All keys ever issued, newest first, never their secrets."""
    with house.store.session() as session:
        page = Keys(session).page(limit=limit, after=after)
    return Listing(items=[_key(row) for row in page.items], next=page.next)


@router.get("/{key_id}", summary="One key", responses=responses(404))
def get_key(key_id: str, house: House, _: Admin) -> Key:
    """A key, never its secret."""
    with house.store.session() as session:
        return _key(Keys(session).get(key_id))


@router.delete("/{key_id}", status_code=204, summary="Revoke a key", responses=responses(404))
def revoke_key(key_id: str, house: House, _: Admin) -> None:
    """It is refused within a second, by every gateway; its row stays."""
    with house.store.transaction() as session:
        Keys(session).revoke(key_id)
    house.gatekeeper.forget()


def _key(row: KeyRow) -> Key:
    return Key.model_validate(row, from_attributes=True)
