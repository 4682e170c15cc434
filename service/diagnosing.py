"""A job's diagnosis, made in a bounded child process: never on the queue, which may be busy for hours."""

from __future__ import annotations

import os
import time
from typing import Any

from autoencoders import build
from autoencoders.init.earlier import sources
from autoencoders.spec import Spec
from service import metrics
from service.children import Bounds, Leash
from service.errors import (
    Busy,
    ChildFailed,
    ChildRefused,
    DiagnosisFailed,
    FieldRefused,
    ServiceError,
)
from service.gateway import Gateway
from service.routes.job_submission import Submission
from store import Models, NotFound, logs

log = logs.get(__name__)

CHILD = "autoencoders.diagnose"
ROWS = 2000
"""The most rows that a diagnosis looks at, held-out ones and those of a pretraining included."""
WAIT_SECONDS = 6.0
"""How long a diagnosis waits for one of the others to end: with its own time it is less than a minute."""

_RESERVE_SECONDS = 12
"""What is left of a child's time when its trial is to end: for the last step, if all is slow."""
_THREADS = min(2, os.cpu_count() or 1)
_FILE_BYTES = 64 * 1024 * 1024
_WAY_OUT = (
    "Ask for less (smaller widths, fewer epochs of pretraining), or submit the job: its worker makes the "
    "same diagnosis before the first step, without this limit."
)


def diagnose(gateway: Gateway, submission: Submission, leash: Leash) -> dict[str, Any]:
    """What the child says of a job that may be queued. Blocks for up to a minute.

    Raises:
        FieldRefused: the job cannot be built for these rows after all; says where.
        DiagnosisFailed: it takes more than a minute, or more than the memory that a diagnosis may use.
        Busy: others are being diagnosed all the while, or the service is stopping.
        ChildFailed: it broke, or the leash was cut.
    """
    began = time.monotonic()
    try:
        said = _ask(gateway, submission, leash)
    except ServiceError as error:
        metrics.diagnoses.labels(_outcome(error)).inc()
        raise
    metrics.diagnoses.labels("made").inc()
    metrics.diagnosis_seconds.observe(time.monotonic() - began)
    return said


def _ask(gateway: Gateway, submission: Submission, leash: Leash) -> dict[str, Any]:
    settings = gateway.settings
    bounds = Bounds(
        memory_bytes=settings.diagnose_memory_bytes,
        wall_seconds=settings.diagnose_seconds,
        file_bytes=_FILE_BYTES,
        threads=_THREADS,
        # torch alone maps gigabytes that it never touches.
        counted="DATA",
    )
    _refuse_too_large(submission, bounds)
    asked = {
        "spec": submission.request.model_dump(mode="json", include=set(Spec.model_fields)),
        "folder": str(gateway.store.artifacts.local_copy(submission.dataset.artifact)),
        "rows": ROWS,
        "threads": _THREADS,
        "device": "cpu",
        "earlier": _earlier(gateway, submission),
        "seconds": max(bounds.wall_seconds - _RESERVE_SECONDS, 0.5 * bounds.wall_seconds),
        "asked": time.time(),
    }
    try:
        return gateway.diagnosers.run(CHILD, asked, bounds, wait_seconds=WAIT_SECONDS, leash=leash)
    except ChildRefused as refusal:
        raise _located(refusal) from None
    except ChildFailed as failure:
        raise _told(failure, bounds) from failure


def _earlier(gateway: Gateway, submission: Submission) -> dict[str, str]:
    """The folder of every earlier model from which an init takes weights, by the name that it gives."""
    folders = {}
    for place, source in sources(submission.request.init):
        with gateway.store.session() as session:
            try:
                artifact = Models(session).resolve(source).artifact
            except NotFound as error:
                raise FieldRefused([(("init", *place), str(error))]) from None
        folders[source] = str(gateway.store.artifacts.local_copy(artifact))
    return folders


def _refuse_too_large(submission: Submission, bounds: Bounds) -> None:
    """Say what will not fit before a process tries."""
    facts = submission.facts
    window_bytes = min(ROWS, facts.rows) * facts.features * build.FLOAT32_BYTES
    needed = build.estimate(submission.request, facts, window_bytes=window_bytes, most_rows=ROWS).memory_bytes
    if needed > bounds.memory_bytes:
        raise DiagnosisFailed(
            f"it would need about {needed:,} bytes of memory; a diagnosis may use {bounds.memory_bytes:,}. "
            + _WAY_OUT
        )


def _located(refusal: ChildRefused) -> FieldRefused:
    found = [(tuple(item["loc"]), str(item["msg"])) for item in refusal.said.get("problems") or []]
    return FieldRefused(found or [((), str(refusal))])


def _told(failure: ChildFailed, bounds: Bounds) -> ServiceError:
    match failure.why:
        case "time":
            return DiagnosisFailed(f"it takes longer than {bounds.wall_seconds} s. {_WAY_OUT}")
        case "memory":
            return DiagnosisFailed(
                f"it needs more than the {bounds.memory_bytes:,} bytes of memory that a diagnosis may use. "
                + _WAY_OUT
            )
        case "stopping":
            return Busy("the service is stopping")
        case "left":
            return failure
        case _:
            log.error("a diagnosis broke", last_words=failure.last_words)
            return failure


def _outcome(error: ServiceError) -> str:
    match error:
        case FieldRefused():
            return "refused"
        case Busy():
            return "busy"
        case ChildFailed(why="left"):
            return "left"
        case DiagnosisFailed():
            return "out_of_bounds"
        case _:
            return "broken"
