"""Models: list, get, versions, aliases, promote, bundle, remove."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathPart
from sqlalchemy.orm import Session
from starlette.responses import StreamingResponse

from service.answers import Listing, tagged
from service.dependencies import Admin, After, House, LabelFilter, Limit, Reader, Trainer
from service.errors import FieldRefused
from service.json_route import JsonRoute
from service.problems import responses
from service.routes.model_wire import Aliases, ModelView, VersionNumber, view_of
from store import ModelRow, Models, NotFound

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=JsonRoute)
Reference = Annotated[
    str, PathPart(description="`faces`, `faces@3` or `faces@champion`.", examples=["digits-code@3"])
]
_PORTION = 1024 * 1024


@router.get("", summary="List the models")
def list_models(
    house: House, _: Reader, labels: LabelFilter, limit: Limit = 50, after: After = None
) -> Listing[ModelView]:
    """Each name once, as the version that it means now."""
    with house.store.session() as session:
        page = Models(session).page(limit=limit, after=after, labels=labels)
        items = [view_of(row, Models(session).aliases(row.name), row.version) for row in page.items]
    return Listing(items=items, next=page.next)


@router.get("/{name}", summary="One model", response_model=ModelView, responses=responses(404))
def get_model(name: Reference, request: Request, house: House, _: Reader) -> Response:
    """Spec, hashes, held-out errors and runtime; with an ETag."""
    with house.store.session() as session:
        row = Models(session).resolve(name)
        return tagged(request, _view(session, row))


@router.get("/{name}/versions", summary="Its versions", responses=responses(404))
def list_versions(
    name: str, house: House, _: Reader, limit: Limit = 50, after: After = None
) -> Listing[ModelView]:
    """Newest first."""
    with house.store.session() as session:
        page = Models(session).version_page(name, limit=limit, after=after)
        aliases, current = Models(session).aliases(name), _current(session, name)
    return Listing(items=[view_of(row, aliases, current) for row in page.items], next=page.next)


@router.post(
    "/{name}/promote", summary="Move the bare name", response_model=ModelView, responses=responses(404, 422)
)
def promote_model(name: str, body: VersionNumber, house: House, _: Trainer) -> ModelView:
    """Makes the bare name mean this version."""
    with house.store.transaction() as session:
        row = Models(session).promote(name, body.version)
        view = _view(session, row)
    house.engine.forget_names(name)
    return view


@router.get("/{name}/aliases", summary="Its aliases", responses=responses(404))
def list_aliases(name: str, house: House, _: Reader) -> Aliases:
    """Every alias and the version it means."""
    with house.store.session() as session:
        Models(session).resolve(name)
        return Aliases(aliases=Models(session).aliases(name))


@router.put(
    "/{name}/aliases/{alias}", summary="Set an alias", response_model=ModelView, responses=responses(404, 422)
)
def set_alias(name: str, alias: str, body: VersionNumber, house: House, _: Trainer) -> ModelView:
    """Makes `name@alias` mean this version."""
    with house.store.transaction() as session:
        view = _view(session, Models(session).set_alias(name, alias, body.version))
    house.engine.forget_names(name)
    return view


@router.delete(
    "/{name}/aliases/{alias}", status_code=204, summary="Remove an alias", responses=responses(404)
)
def remove_alias(name: str, alias: str, house: House, _: Trainer) -> None:
    """The version stays."""
    with house.store.transaction() as session:
        Models(session).remove_alias(name, alias)
    house.engine.forget_names(name)


@router.get(
    "/{name}/bundle",
    summary="Its files",
    response_class=Response,
    responses={
        **responses(404, 410),
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
def download_bundle(name: Reference, house: House, _: Reader) -> Response:
    """A zip of safetensors and JSON, written as it is sent."""
    with house.store.session() as session:
        row = Models(session).resolve(name)
    folder = house.store.artifacts.local_copy(row.artifact)
    headers = {"Content-Disposition": f'attachment; filename="{row.name}-{row.version}.zip"'}
    if row.weights_sha256 is not None:
        headers["ETag"] = f'"{row.weights_sha256}"'
    return StreamingResponse(_zip(folder), media_type="application/zip", headers=headers)


@router.delete(
    "/{name}", status_code=204, summary="Remove a model or a version", responses=responses(404, 409, 422)
)
def remove_model(name: Reference, house: House, _: Admin) -> None:
    """`faces` goes with all its versions, `faces@3` alone."""
    bare, at, which = name.partition("@")
    if at and not which.isdecimal():
        raise FieldRefused(
            [(("path", "name"), "remove a version by its number, or an alias under …/aliases/{alias}")]
        )
    with house.store.transaction() as session:
        version = Models(session).resolve(name).version if at else None
        Models(session).remove(bare, version)
    house.engine.forget(bare)


def _view(session: Session, row: ModelRow) -> ModelView:
    return view_of(row, Models(session).aliases(row.name), _current(session, row.name))


def _current(session: Session, name: str) -> int | None:
    try:
        return Models(session).resolve(name).version
    except NotFound:
        return None


class _Outlet(RawIOBase):
    """Where a zip is written to: what it holds is taken out and sent on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        portion = bytes(memoryview(data))  # type: ignore[arg-type]  # zipfile writes bytes-like objects alone
        self._parts.append(portion)
        return len(portion)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _zip(folder: Path) -> Iterator[bytes]:
    """The folder as a zip, stored and not deflated: weights do not shrink, equal models give equal bytes."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while portion := source.read(_PORTION):
                    target.write(portion)
                    yield outlet.take()
            yield outlet.take()
    yield outlet.take()
