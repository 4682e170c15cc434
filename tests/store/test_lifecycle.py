from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from store import MOVES, Conflict, Fenced, IllegalMove, JobRow, Jobs, JobState, Store
from store.lifecycle import check_move
from tests.store import given

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = JobState
LEGAL = {
    (QUEUED, RUNNING),
    (QUEUED, CANCELLED),
    (RUNNING, SUCCEEDED),
    (RUNNING, FAILED),
    (RUNNING, CANCELLED),
    (RUNNING, QUEUED),
    (FAILED, QUEUED),
    (CANCELLED, QUEUED),
}


@pytest.mark.parametrize(("source", "target"), list(product(JobState, JobState)))
def test_only_the_moves_of_the_table_are_legal(source: JobState, target: JobState) -> None:
    assert (target in MOVES[source]) == ((source, target) in LEGAL)
    if (source, target) in LEGAL:
        check_move(source, target)
    else:
        with pytest.raises(IllegalMove) as refused:
            check_move(source, target)
        assert (refused.value.source, refused.value.target) == (source, target)


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(MOVES) == set(JobState)
    assert [state for state in JobState if state.is_over] == [SUCCEEDED, FAILED, CANCELLED]


Act = Callable[[Jobs, JobRow], object]
ACTS: dict[str, Act] = {
    "cancel": lambda jobs, job: jobs.cancel(job.id),
    "stop": lambda jobs, job: jobs.stop(job.id),
    "resume": lambda jobs, job: jobs.resume(job.id),
    "remove": lambda jobs, job: jobs.remove(job.id),
    "beat": lambda jobs, job: jobs.beat(job.id, job.token, 60),
    "record": lambda jobs, job: jobs.record(job.id, job.token, progress={"step": 1}),
    "succeed": lambda jobs, job: jobs.finish(job.id, job.token, SUCCEEDED),
    "fail": lambda jobs, job: jobs.finish(job.id, job.token, FAILED),
    "give_back": lambda jobs, job: jobs.give_back(job.id, job.token),
}
ALLOWED = {
    "cancel": {QUEUED, RUNNING},
    "stop": {RUNNING},
    "resume": {FAILED, CANCELLED},
    "remove": {SUCCEEDED, FAILED, CANCELLED},
    "beat": {RUNNING},
    "record": {RUNNING},
    "succeed": {RUNNING},
    "fail": {RUNNING},
    "give_back": {RUNNING},
}


@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_refused_in_every_state_but_its_own(act: str, store: Store) -> None:
    for state in JobState:
        job = given.in_state(store, state)
        if state in ALLOWED[act]:
            with store.transaction() as session:
                ACTS[act](Jobs(session), job)
        else:
            before = given.found(store, job.id)
            with pytest.raises((IllegalMove, Conflict, Fenced)), store.transaction() as session:
                ACTS[act](Jobs(session), job)
            after = given.found(store, job.id)
            assert (after.state, after.revision, after.events) == (state, before.revision, before.events)


def test_a_finish_can_only_end_a_job(store: Store) -> None:
    job = given.running(store)
    with pytest.raises(IllegalMove), store.transaction() as session:
        Jobs(session).finish(job.id, job.token, RUNNING)
