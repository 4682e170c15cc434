"""A model for other programs: ONNX graphs, a Triton model repository, safetensors with a card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from autoencoders import bundle, golden
from autoencoders.bundle import DECODER, ENCODER, SCALING, WEIGHTS, TrainedModel
from autoencoders.export import card, triton
from autoencoders.golden import GOLDEN
from service.archive import zip_files
from service.dependencies import House, Reader
from service.errors import PreconditionFailed
from service.json_route import JsonRoute
from service.problems import responses
from service.routes.models import Reference
from store import ModelRow, Models

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=JsonRoute)
Format = Literal["onnx", "safetensors", "triton"]
WHOLE = "autoencoder.onnx"


# Not a coroutine: files are read and a graph is drawn in a thread, and the event loop goes on.
@router.get(
    "/{name}/export",
    summary="For other programs",
    response_class=Response,
    responses={
        **responses(404, 409, 410, 422),
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
    },
)
def export_model(
    name: Reference,
    house: House,
    _: Reader,
    format: Annotated[  # noqa: A002 - the query's word
        Format,
        Query(
            description="`onnx`: encoder, decoder and both in one; `triton`: a model repository; "
            "`safetensors`: the weights with a model card."
        ),
    ],
) -> Response:
    """A zip. The graphs take and give rows in the dataset's own units, any number at once."""
    with house.store.session() as session:
        row = Models(session).resolve(name)
    folder = house.store.artifacts.local_copy(row.artifact)
    trained = bundle.load(folder)
    if GOLDEN in trained.manifest.hashes:
        golden.check(trained, folder)
    files = _FILES[format](row, folder, trained)
    headers = {
        "Content-Disposition": f'attachment; filename="{row.name}-{row.version}-{format}.zip"',
        "ETag": f'"{trained.manifest.weights_sha256}-{format}"',
    }
    return StreamingResponse(zip_files(files), media_type="application/zip", headers=headers)


def _onnx(row: ModelRow, folder: Path, trained: TrainedModel) -> dict[str, Path | bytes]:
    _need_graphs(row, trained)
    names = (name for name in (ENCODER, DECODER, GOLDEN) if name in trained.manifest.hashes)
    return {**{name: folder / name for name in names}, WHOLE: _whole(trained)}


def _triton(row: ModelRow, folder: Path, trained: TrainedModel) -> dict[str, Path | bytes]:
    _need_graphs(row, trained)
    return triton.repository(
        row.name,
        row.version,
        shape=trained.facts.shape,
        code_size=trained.model.code_size,
        graphs=(folder / ENCODER, folder / DECODER, _whole(trained)),
    )


def _safetensors(row: ModelRow, folder: Path, trained: TrainedModel) -> dict[str, Path | bytes]:
    return {
        "README.md": card.card(row.name, row.version, trained.manifest).encode(),
        "config.json": trained.spec.model_dump_json(indent=1).encode(),
        card.WEIGHTS_NAME: folder / WEIGHTS,
        SCALING: folder / SCALING,
    }


_FILES = {"onnx": _onnx, "triton": _triton, "safetensors": _safetensors}


def _need_graphs(row: ModelRow, trained: TrainedModel) -> None:
    if ENCODER not in trained.manifest.hashes:
        raise PreconditionFailed(
            f"{row.name}@{row.version} has no ONNX graphs: they are made when a model is published, and its "
            "could not be, or it is older than they are; the events of its job say why"
        )


def _whole(trained: TrainedModel) -> bytes:
    from autoencoders.export import graphs

    return graphs.whole(trained)
