"""Models: list, get, versions, aliases, promote, bundle, remove."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathPart
from sqlalchemy.orm import Session
from starlette.responses import StreamingResponse

from service.answers import Listing, tagged
from service.archive import zip_folder
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
    return StreamingResponse(zip_folder(folder), media_type="application/zip", headers=headers)


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
