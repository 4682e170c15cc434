"""The rest of the Open Inference Protocol: health, metadata, statistics, and the repository of models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from autoencoders.data.manifest import Facts
from service.dependencies import House, Onlooker, Trainer
from service.errors import FieldRefused
from service.gateway import Gateway
from service.routes.inference_v2 import Name, Version, of_version
from service.routes.inference_v2_wire import (
    BatchStatistics,
    ConfiguredTensor,
    Duration,
    Health,
    IndexEntry,
    InferenceStatistics,
    Live,
    Loaded,
    ModelConfig,
    ModelMetadata,
    ModelNames,
    ModelReady,
    ProtocolError,
    ServerMetadata,
    Statistics,
    TensorMetadata,
    Unloaded,
    VersionStatistics,
)
from service.serving import statistics
from service.serving.tensors import INPUT
from store import ModelRow, Models

router = APIRouter(prefix="/v2", tags=["open inference protocol"])
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
)
NOT_OFFERED = (
    "/trace/setting",
    "/models/{name}/trace/setting",
    "/logging",
    "/systemsharedmemory/{rest:path}",
    "/cudasharedmemory/{rest:path}",
)
_PLATFORM, _BACKEND = "hourglass_bundle", "hourglass"
_NEEDED = ("database", "artifacts")
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": "It cannot.", "model": Health}}
_MODEL_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Its files are gone.", "model": ProtocolError}
}


@router.get("", summary="What speaks here")
def server_metadata(request: Request, _: Onlooker) -> ServerMetadata:
    """Name, version and the extensions of the protocol that are offered."""
    return ServerMetadata(name="hourglass", version=request.app.version, extensions=list(EXTENSIONS))


@router.get("/health/live", summary="Does the process answer?")
async def server_live() -> Live:
    """Answered without touching anything else."""
    return Live()


@router.get("/health/ready", summary="Can it answer?", responses=_NOT_READY)
def server_ready(house: House, response: Response) -> Health:
    """200 says yes; 503 while the database or the artifact store is away."""
    ready = _can_work(house)
    response.status_code = 200 if ready else 503
    return Health(live=True, ready=ready)


@router.get("/models", summary="The names of all models")
def model_names(house: House, _: Onlooker) -> ModelNames:
    """Each once, in alphabetical order."""
    return ModelNames(models=sorted({name for name, _ in _every(house)}))


@router.get("/models/stats", summary="Statistics of all models")
async def all_statistics(house: House, _: Onlooker) -> Statistics:
    """Every version that this gateway process has in memory or has served."""
    return _statistics(house, await asyncio.to_thread(_every, house))


@router.get("/models/{name}", summary="What goes into a model and comes out")
def model_metadata(name: Name, house: House, _: Onlooker) -> ModelMetadata:
    """Its versions, its input in the dataset's units, and its outputs."""
    return _metadata(house, name)


@router.get("/models/{name}/versions/{version}", summary="The same of one version")
def version_metadata(name: Name, version: Version, house: House, _: Onlooker) -> ModelMetadata:
    """The version is a number or an alias."""
    return _metadata(house, of_version(name, version))


@router.get("/models/{name}/ready", summary="Can a model answer?", responses=_MODEL_NOT_READY)
def model_ready(name: Name, house: House, _: Onlooker) -> ModelReady:
    """200 says yes: it is in memory, or the first request loads it."""
    return _ready(house, name)


@router.get(
    "/models/{name}/versions/{version}/ready", summary="Can a version answer?", responses=_MODEL_NOT_READY
)
def version_ready(name: Name, version: Version, house: House, _: Onlooker) -> ModelReady:
    """The version is a number or an alias."""
    return _ready(house, of_version(name, version))


@router.get("/models/{name}/config", summary="A model's configuration, as Triton says it")
def model_configuration(name: Name, house: House, _: Onlooker) -> ModelConfig:
    """For clients such as perf_analyzer, which ask for it before they infer."""
    return _configuration(house, name)


@router.get("/models/{name}/versions/{version}/config", summary="The same of one version")
def version_configuration(name: Name, version: Version, house: House, _: Onlooker) -> ModelConfig:
    """The version is a number or an alias."""
    return _configuration(house, of_version(name, version))


@router.get("/models/{name}/stats", summary="Statistics of a model")
async def model_statistics(name: Name, house: House, _: Onlooker) -> Statistics:
    """Of all its versions, since this gateway process began."""
    return _statistics(house, await asyncio.to_thread(_versions, house, name))


@router.get("/models/{name}/versions/{version}/stats", summary="Statistics of a version")
async def version_statistics(name: Name, version: Version, house: House, _: Onlooker) -> Statistics:
    """Since this gateway process began."""
    return _statistics(house, await asyncio.to_thread(_versions, house, of_version(name, version)))


@router.post("/repository/index", summary="Every version of every model")
async def repository_index(request: Request, house: House, _: Onlooker) -> list[IndexEntry]:
    """All are ready: what is not in memory is loaded by its first request. The body may be empty."""
    _document(await request.body())
    every = await asyncio.to_thread(_every, house)
    return [IndexEntry(name=name, version=str(version), state="READY", reason="") for name, version in every]


@router.post("/repository/models/{name}/load", summary="Load a model")
async def load_model(name: Name, request: Request, house: House, _: Trainer) -> Loaded:
    """Answers when it is in memory and warm; the body may be empty."""
    for parameter in _document(await request.body()).get("parameters") or {}:
        if parameter == "config" or parameter.startswith("file:"):
            message = "models are what was trained here: no configuration or files of another are taken"
            raise FieldRefused([(("parameters", parameter), message)])
    await house.engine.model(name)
    return Loaded(name=name, load=True)


@router.post("/repository/models/{name}/unload", summary="Let go of a model's memory")
async def unload_model(name: Name, request: Request, house: House, _: Trainer) -> Unloaded:
    """In this gateway process: all versions, or the one that is named. The next request loads it again."""
    _document(await request.body())
    found = await asyncio.to_thread(_versions, house, name)
    await house.engine.unload(f"{found[0][0]}@{found[0][1]}" if "@" in name else name)
    return Unloaded(name=name, unload=True)


async def not_offered(_: Onlooker) -> Response:
    """Parts of Triton's protocol that have no place here.

    Raises:
        HTTPException: 501, always.
    """
    raise HTTPException(501, "tracing, log settings and shared memory are not offered here")


for _path in NOT_OFFERED:
    router.add_api_route(_path, not_offered, methods=["GET", "POST"], include_in_schema=False)


def _can_work(house: Gateway) -> bool:
    parts = house.store.parts()
    return all(parts[part] is None for part in _NEEDED)


def _every(house: Gateway) -> list[tuple[str, int]]:
    with house.store.session() as session:
        return Models(session).every()


def _versions(house: Gateway, name: str) -> list[tuple[str, int]]:
    """Name and number of what a reference means, of a bare name all versions."""
    with house.store.session() as session:
        models = Models(session)
        rows = [models.resolve(name)] if "@" in name else models.versions(name)
        return sorted((row.name, row.version) for row in rows)


def _row(house: Gateway, name: str) -> ModelRow:
    with house.store.session() as session:
        return Models(session).resolve(name)


def _ready(house: Gateway, name: str) -> ModelReady:
    if not house.store.artifacts.exists(_row(house, name).artifact):
        raise HTTPException(503, f"the files of the model {name!r} are gone")
    return ModelReady(name=name, ready=True)


def _tensors(row: ModelRow) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """The shapes of one row: of the input, and of each output by its name."""
    shape = Facts.model_validate(row.manifest["facts"]).shape
    return shape, {"code": (int(row.manifest["code_size"]),), "reconstruction": shape, "score": ()}


def _metadata(house: Gateway, name: str) -> ModelMetadata:
    row = _row(house, name)
    versions = [version for _, version in _versions(house, name)]
    shape, outputs = _tensors(row)
    return ModelMetadata(
        name=row.name,
        versions=[str(version) for version in versions],
        platform=_PLATFORM,
        inputs=[TensorMetadata(name=INPUT, datatype="FP32", shape=[-1, *shape])],
        outputs=[
            TensorMetadata(name=output, datatype="FP32", shape=[-1, *extents])
            for output, extents in outputs.items()
        ],
    )


def _configuration(house: Gateway, name: str) -> ModelConfig:
    row, settings = _row(house, name), house.settings
    shape, outputs = _tensors(row)
    features = Facts.model_validate(row.manifest["facts"]).features
    most = min(settings.inference_rows_queued, settings.body_limit_bytes // (4 * features))
    return ModelConfig(
        name=row.name,
        platform=_PLATFORM,
        backend=_BACKEND,
        max_batch_size=max(1, most),
        input=[ConfiguredTensor(name=INPUT, data_type="TYPE_FP32", dims=list(shape))],
        output=[
            ConfiguredTensor(name=output, data_type="TYPE_FP32", dims=list(extents))
            for output, extents in outputs.items()
        ],
    )


def _statistics(house: Gateway, versions: Sequence[tuple[str, int]]) -> Statistics:
    """In the event loop's thread, which is where they are counted."""
    stats = [_told(name, version, house.engine.statistics(f"{name}@{version}")) for name, version in versions]
    return Statistics(model_stats=stats)


def _told(name: str, version: int, seen: statistics.Statistics) -> VersionStatistics:
    none = Duration(count=0, ns=0)
    return VersionStatistics(
        name=name,
        version=str(version),
        last_inference=seen.last_inference_ms,
        inference_count=seen.inference_count,
        execution_count=seen.execution_count,
        inference_stats=InferenceStatistics(
            success=_took(seen.success),
            fail=_took(seen.fail),
            queue=_took(seen.queue),
            compute_input=_took(seen.compute_input),
            compute_infer=_took(seen.compute_infer),
            compute_output=_took(seen.compute_output),
            cache_hit=none,
            cache_miss=none,
        ),
        batch_stats=[
            BatchStatistics(
                batch_size=rows, compute_input=none, compute_infer=_took(took), compute_output=none
            )
            for rows, took in sorted(seen.batch_stats.items())
        ],
    )


def _took(took: statistics.Took) -> Duration:
    return Duration(count=took.count, ns=took.ns)


def _document(body: bytes) -> dict[str, Any]:
    """A body that is a JSON object, or empty.

    Raises:
        FieldRefused: it is neither.
    """
    if not body.strip():
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FieldRefused([((), f"the body is not JSON: {error}")]) from None
    if not isinstance(document, dict) or not isinstance(document.get("parameters") or {}, dict):
        raise FieldRefused([((), "the body must be a JSON object, and its parameters one too")])
    return document
