"""From a job's body to what goes on the queue: dataset found, defaults resolved, refusals located."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoencoders import build
from autoencoders.alignment import unfit
from autoencoders.data.manifest import Facts, Manifest
from autoencoders.init.earlier import misfit, pinned, sources
from service.dependencies import RESERVED_NAMES
from service.errors import FieldRefused
from service.gateway import Gateway
from service.routes.job_wire import DatasetRef, DryRun, JobRequest
from service.uploads import sample_dataset
from store import DatasetRow, ModelRow, Models, NotFound, Workers, ids
from store.labels import check as check_labels

# Matrix products of a training at the rate that two cores reach; a GPU is far faster.
_USUAL_FLOPS = {"cpu": 1.0e11, "gpu": 5.0e12}
_OVERHEAD_SECONDS = 2.0
_WINDOW_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Submission:
    """A job that may be queued."""

    request: JobRequest
    dataset: DatasetRow
    facts: Facts
    model: str
    device: str

    @property
    def document(self) -> dict[str, Any]:
        """The full body, every default written out: what the answer shows and the worker reads."""
        return {**self.request.model_dump(mode="json"), "model": self.model}


def prepare(gateway: Gateway, request: JobRequest) -> Submission:
    """Everything about a job that can be known before it is queued.

    Raises:
        FieldRefused: there is no such dataset or earlier model, or what is asked for is not offered.
        SpecRefused: the spec cannot be built for this dataset.
        BadName: a label is none.
    """
    check_labels(request.labels)
    dataset = dataset_of(gateway, request.dataset)
    facts = Manifest.model_validate(dataset.manifest).facts()
    resolved = request.resolve(facts)
    resolved.check(facts)
    resolved = exact(gateway, resolved, facts)
    model = model_name(request.model, dataset)
    return Submission(resolved, dataset, facts, model, device_for(gateway, request.device))


def model_name(asked: str | None, dataset: DatasetRow) -> str:
    """The name that a model is registered under: the dataset's where none was asked for.

    Raises:
        FieldRefused: the dataset's name cannot be a model's, said at `model`.
    """
    model = asked or dataset.name
    if not ids.is_name(model) or model in RESERVED_NAMES:
        raise FieldRefused([(("model",), f"the dataset's name {model!r} cannot be a model's; give one")])
    return model


def exact(gateway: Gateway, request: JobRequest, facts: Facts) -> JobRequest:
    """A resolved job with every earlier model by its version, so that a name that moves changes nothing.

    Raises:
        FieldRefused: there is no such model, or it does not fit.
    """
    return _aligned_to_exact(gateway, _with_exact_sources(gateway, request), facts)


def estimate(submission: Submission) -> DryRun:
    """What the job would be and take."""
    needs = build.estimate(submission.request, submission.facts, window_bytes=_WINDOW_BYTES)
    seconds = _OVERHEAD_SECONDS + needs.flops / _USUAL_FLOPS[submission.device]
    return DryRun(
        spec=submission.document,
        dataset=DatasetRef(id=submission.dataset.id, name=submission.dataset.name),
        model=submission.model,
        device=submission.device,
        parameters=needs.parameters,
        memory_bytes=needs.memory_bytes,
        seconds=round(seconds, 1),
    )


def dataset_of(gateway: Gateway, asked: str) -> DatasetRow:
    """The dataset of this id or name; a built-in sample is made where it is missing.

    Raises:
        FieldRefused: there is none, said at `dataset`.
    """
    try:
        return sample_dataset(gateway, asked)
    except NotFound as error:
        raise FieldRefused([(("dataset",), str(error))]) from None


def _with_exact_sources(gateway: Gateway, request: JobRequest) -> JobRequest:
    """Each earlier model by its version, so that a name or alias that moves changes nothing of this job."""
    exact: dict[str, str] = {}
    problems: list[tuple[tuple[str, ...], str]] = []
    with gateway.store.session() as session:
        for place, source in sources(request.init):
            try:
                row = Models(session).resolve(source)
            except NotFound as error:
                problems.append((("init", *place), str(error)))
                continue
            exact[source] = f"{row.name}@{row.version}"
            if why := misfit(source, _architecture(row), request.architecture.name):
                problems.append((("init", *place), why))
    if problems:
        raise FieldRefused(problems)
    return request.model_copy(update={"init": pinned(request.init, exact)}) if exact else request


def _aligned_to_exact(gateway: Gateway, request: JobRequest, facts: Facts) -> JobRequest:
    """The model to align to by its version, once it is known that the two codes can be aligned."""
    if request.align_to is None:
        return request
    try:
        with gateway.store.session() as session:
            row = Models(session).resolve(request.align_to)
    except NotFound as error:
        raise FieldRefused([(("align_to",), str(error))]) from None
    code = request.architecture.model_dump(mode="json")["code"]
    if why := unfit(f"{row.name}@{row.version}", row.manifest, code, facts):
        raise FieldRefused([(("align_to",), why)])
    return request.model_copy(update={"align_to": f"{row.name}@{row.version}"})


def _architecture(row: ModelRow) -> str:
    return str(row.manifest["spec"]["architecture"]["name"])


def device_for(gateway: Gateway, asked: str) -> str:
    """The queue of a job: `auto` goes to a GPU where a living worker has one."""
    if asked != "auto":
        return asked
    with gateway.store.session() as session:
        return "gpu" if any(row.device == "gpu" for row in Workers(session).living()) else "cpu"
