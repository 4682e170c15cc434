"""The states of a job, and of a study, and the table of its legal moves: all of them."""

from __future__ import annotations

from enum import StrEnum

from store.errors import IllegalMove


class JobState(StrEnum):
    """Where a job is in its life, or a study."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether no worker will touch the job any more, unless somebody resumes it."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    # back to queued: its worker was lost, or is being deployed over
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def check_move(source: JobState, target: JobState, *, kind: str = "job") -> None:
    """Nothing, or `IllegalMove`."""
    if target not in MOVES[source]:
        raise IllegalMove(source.value, target.value, kind=kind)
