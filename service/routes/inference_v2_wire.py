"""The Open Inference Protocol as the interface's description shows it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_TENSOR: dict[str, Any] = {"name": "input", "datatype": "FP32", "shape": [1, 3], "data": [0.0, 0.5, 1.0]}
_HEADER = "Inference-Header-Content-Length"
_HEADER_SAYS = (
    "The bytes of the body's JSON, where binary tensors follow it; 0 for a body that is the input itself, "
    "rows of little-endian float32."
)
Parameters = dict[str, str | int | float | bool]


class ProtocolError(BaseModel):
    """What went wrong, in words; any status but 200 comes with it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "model 'faces' does not exist"}]})

    error: str


class ServerMetadata(BaseModel):
    """What speaks here, and which extensions of the protocol it knows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "hourglass", "version": "0.1.0", "extensions": ["binary_tensor_data"]}]
        }
    )

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"live": True}]})

    live: bool = True


class Health(BaseModel):
    """Whether the process answers, and whether it can work."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"live": True, "ready": True}]})

    live: bool
    ready: bool


class ModelReady(BaseModel):
    """Whether a model can answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "digits-code", "ready": True}]})

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """An input or output; -1 is however many rows there are."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The versions of a model, and what goes in and comes out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "digits-code",
                    "versions": ["1", "2"],
                    "platform": "hourglass_bundle",
                    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 8, 8]}],
                    "outputs": [{"name": "code", "datatype": "FP32", "shape": [-1, 4]}],
                }
            ]
        }
    )

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ConfiguredTensor(BaseModel):
    """An input or output as Triton's model configuration says it; `dims` are those of one row."""

    name: str
    data_type: str
    dims: list[int]


class ModelConfig(BaseModel):
    """The part of Triton's model configuration that says something here."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "digits-code",
                    "platform": "hourglass_bundle",
                    "backend": "hourglass",
                    "max_batch_size": 200000,
                    "input": [{"name": "input", "data_type": "TYPE_FP32", "dims": [8, 8]}],
                    "output": [{"name": "code", "data_type": "TYPE_FP32", "dims": [4]}],
                    "dynamic_batching": {},
                }
            ]
        }
    )

    name: str
    platform: str
    backend: str
    max_batch_size: int = Field(description="Rows that a binary request can hold under the gateway's limits.")
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    dynamic_batching: dict[str, Any] = {}


class ModelNames(BaseModel):
    """The names of all models."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"models": ["digits-code"]}]})

    models: list[str]


class IndexEntry(BaseModel):
    """One version of a model in the repository."""

    name: str
    version: str
    state: str
    reason: str


class Loaded(BaseModel):
    """The model is in memory and warm."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "digits-code", "load": True}]})

    name: str
    load: bool


class Unloaded(BaseModel):
    """The model's memory is free; the next request loads it again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "digits-code", "unload": True}]})

    name: str
    unload: bool


class Duration(BaseModel):
    """How often something was done, and how long all of it took together."""

    count: int
    ns: int


class InferenceStatistics(BaseModel):
    """Where the time of a model's requests went."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStatistics(BaseModel):
    """The forward passes of so many rows."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class VersionStatistics(BaseModel):
    """What a version did since this gateway process began."""

    name: str
    version: str
    last_inference: int = Field(description="Unix milliseconds; 0 before the first.")
    inference_count: int = Field(description="Rows.")
    execution_count: int = Field(description="Forward passes.")
    inference_stats: InferenceStatistics
    response_stats: dict[str, Any] = {}
    batch_stats: list[BatchStatistics]
    memory_usage: list[Any] = []


class Statistics(BaseModel):
    """The statistics of one version or several."""

    model_stats: list[VersionStatistics]


class Tensor(BaseModel):
    """A tensor: its numbers flat or nested as `data`, or behind the JSON as `binary_data_size` bytes."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: Parameters | None = None


class OutputWanted(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: Parameters | None = None


class InferBody(BaseModel):
    """The JSON of an infer request; without `outputs` all of them come."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": [_TENSOR], "outputs": [{"name": "code"}]}]}
    )

    inputs: list[Tensor]
    outputs: list[OutputWanted] | None = None
    id: str | None = None
    parameters: Parameters | None = None


class InferAnswer(BaseModel):
    """The JSON of an infer answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_name": "digits-code",
                    "model_version": "2",
                    "outputs": [{"name": "code", "datatype": "FP32", "shape": [1, 2], "data": [0.12, -1.4]}],
                }
            ]
        }
    )

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


def documented() -> dict[str, Any]:
    """OpenAPI of the infer routes, which read and write their bodies themselves."""
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    length = {"description": _HEADER_SAYS, "schema": {"type": "integer", "minimum": 0}}
    schema = InferBody.model_json_schema(ref_template="#/components/schemas/{model}")
    # A reference needs its schema among the components; the body's own parts stand there by the answer's.
    schema.pop("$defs", None)
    return {
        "response_model": InferAnswer,
        "responses": {200: {"content": binary, "headers": {_HEADER: length}}},
        "openapi_extra": {
            "parameters": [{"name": _HEADER, "in": "header", "required": False, **length}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}, **binary}},
        },
    }
