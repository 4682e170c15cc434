"""From a study's body to its plan: dataset found, cells made, earlier models settled, refusals located."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autoencoders import study
from autoencoders.data.manifest import Facts, Manifest
from autoencoders.errors import SpecRefused
from service.errors import FieldRefused
from service.gateway import Gateway
from service.routes.job_submission import Submission, dataset_of, device_for, estimate, exact, model_name
from service.routes.job_wire import DatasetRef, JobRequest
from service.routes.study_wire import PlannedCell, Skipped, StudyBudget, StudyDryRun, StudyRequest
from store import DatasetRow, Json
from store.labels import check as check_labels


@dataclass(frozen=True)
class StudySubmission:
    """A study that may be queued.

    Attributes:
        document: the body as it was sent, the study's own defaults written out.
        plan: what its jobs are made from: cells with their full bodies, seeds, rungs.
    """

    document: Json
    plan: Json
    dataset: DatasetRow
    facts: Facts
    model: str
    device: str


def prepare_study(gateway: Gateway, request: StudyRequest) -> StudySubmission:
    """Everything about a study that can be known before it is queued.

    Raises:
        FieldRefused: there is no such dataset or earlier model, or there are too many jobs.
        SpecRefused: the base or a cell cannot be built for this dataset; says where in base or grid.
        BadName: a label is none.
    """
    for labels in (request.base.labels, request.labels):
        check_labels(labels)
    _refuse_unknown_fields(request)
    dataset = _found(gateway, request)
    facts = Manifest.model_validate(dataset.manifest).facts()
    model = model_name(request.model or request.base.model, dataset)
    base = {**request.base.model_dump(mode="json"), "model": model}
    plan = study.plan(
        base,
        grid=request.grid,
        preset=request.preset,
        seeds=request.seeds or [_seed(base)],
        budget=None if request.budget is None else request.budget.model_dump(exclude_none=True),
        learning_rate=request.learning_rate,
        racing=request.racing,
        unfit=request.unfit,
        facts=facts,
        settle=_settler(gateway, facts),
    ).document()
    document = {
        **request.model_dump(mode="json", include={"grid", "preset", "learning_rate", "racing", "unfit"}),
        "base": request.base.model_dump(mode="json", exclude_unset=True),
        "seeds": plan["seeds"],
        "budget": plan["budget"],
        "keep_models": request.keep_models,
        "model": model,
        "labels": request.labels,
    }
    device = device_for(gateway, plan["cells"][0]["job"]["device"])
    return StudySubmission(document, plan, dataset, facts, model, device)


def estimate_study(submission: StudySubmission) -> StudyDryRun:
    """What the study would be and take, without what racing or early stopping would spare."""
    plan, cells = submission.plan, []
    for cell in submission.plan["cells"]:
        job = estimate(
            Submission(
                JobRequest.model_validate(cell["job"]),
                submission.dataset,
                submission.facts,
                submission.model,
                submission.device,
            )
        )
        seconds = plan["budget"].get("seconds") or job.seconds
        cells.append(
            PlannedCell(
                cell=cell["cell"],
                job=cell["job"],
                parameters=job.parameters,
                memory_bytes=job.memory_bytes,
                seconds=seconds,
            )
        )
    return StudyDryRun(
        dataset=DatasetRef(id=submission.dataset.id, name=submission.dataset.name),
        model=submission.model,
        device=submission.device,
        cells=cells,
        skipped=[Skipped.model_validate(skipped) for skipped in plan["skipped"]],
        seeds=plan["seeds"],
        budget=StudyBudget.model_validate(plan["budget"]),
        rungs=plan["rungs"],
        jobs=len(cells) * len(plan["seeds"]),
        memory_bytes=max(cell.memory_bytes for cell in cells),
        seconds=round(_seconds(plan, cells), 1),
    )


def _seconds(plan: Json, cells: list[PlannedCell]) -> float:
    """Of all jobs one after the other: in a race, each rung trains those that came so far."""
    unit = "epochs" if plan["budget"].get("epochs") else "seconds"
    whole, before, going = float(plan["budget"][unit]), 0.0, len(cells)
    spent = 0.0
    for rung in plan["rungs"]:
        spent += going * (float(rung[unit]) - before)
        before, going = float(rung[unit]), rung["keep"] or going
    share = spent / (len(cells) * whole)
    return share * sum(cell.seconds for cell in cells) * len(plan["seeds"])


def _found(gateway: Gateway, request: StudyRequest) -> DatasetRow:
    try:
        return dataset_of(gateway, request.base.dataset)
    except FieldRefused as refusal:
        raise FieldRefused([(("base", *place), message) for place, message in refusal.problems]) from None


def _seed(base: Mapping[str, Any]) -> int:
    """The base's own seed, where it gives one: whether it is one at all is said when the base is read."""
    training = base.get("training")
    seed = training.get("seed") if isinstance(training, dict) else None
    return seed if isinstance(seed, int) and seed >= 0 else 0


def _settler(gateway: Gateway, facts: Facts) -> Callable[[Json], Json]:
    """A cell's job with every earlier model by its version, refused as a plan refuses."""

    def settle(job: Json) -> Json:
        try:
            return exact(gateway, JobRequest.model_validate(job), facts).model_dump(mode="json")
        except FieldRefused as refusal:
            places = [(tuple(map(str, place)), message) for place, message in refusal.problems]
            raise SpecRefused(places) from None

    return settle


def _refuse_unknown_fields(request: StudyRequest) -> None:
    """The plan carries along what is no field of a spec: that it is one of a job's is for the door to see."""
    unknown = (request.base.model_extra or {}).keys() - JobRequest.model_fields.keys()
    if unknown:
        raise FieldRefused([(("base", name), "a job has no such field") for name in sorted(unknown)])
