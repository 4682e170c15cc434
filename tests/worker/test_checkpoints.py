"""Checkpoints: which are kept, and where a resume begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoencoders.events import Checkpoint
from autoencoders.training.state import STATE_FILE, Progress, TrainingState
from store import Artifacts, Store
from worker.checkpoints import Checkpoints, Place


def checkpoint(step: int, *, best: bool = False) -> Checkpoint:
    state = TrainingState(
        progress=Progress(step=step),
        model={"weight": torch.full((3,), float(step))},
        optimizer={},
        generators={},
        epoch_loss=torch.zeros((), dtype=torch.float64),
    )
    return Checkpoint(epoch=0, step=step, best=best, state=state)


@pytest.fixture
def artifacts(store: Store) -> Artifacts:
    return store.artifacts


def of(artifacts: Artifacts, scratch: Path, token: int = 1) -> Checkpoints:
    scratch.mkdir(exist_ok=True)
    return Checkpoints(artifacts, "job", token, scratch)


def damage(artifacts: Artifacts, place: str) -> None:
    file = artifacts.local_copy(f"jobs/job/checkpoints/{place}/{STATE_FILE}")
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def test_the_last_two_and_the_best_are_kept(artifacts: Artifacts, tmp_path: Path) -> None:
    checkpoints = of(artifacts, tmp_path / "scratch")
    for step in range(1, 7):
        checkpoints.save(checkpoint(step, best=step == 2))
    assert artifacts.list("jobs/job/checkpoints") == ["1.2", "1.5", "1.6"]
    assert not list((tmp_path / "scratch").iterdir())


def test_a_better_best_replaces_the_one_before(artifacts: Artifacts, tmp_path: Path) -> None:
    checkpoints = of(artifacts, tmp_path / "scratch")
    for step in range(1, 7):
        checkpoints.save(checkpoint(step, best=step in (1, 3)))
    assert artifacts.list("jobs/job/checkpoints") == ["1.3", "1.5", "1.6"]


def test_the_next_attempt_begins_at_the_newest_and_remembers_the_best(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    first = of(artifacts, tmp_path / "scratch")
    for step in (9, 10, 100):
        first.save(checkpoint(step, best=step == 9))
    second = of(artifacts, tmp_path / "scratch", token=2)
    found = second.newest()
    assert found is not None
    assert (found.place, found.state.progress.step) == (Place(1, 100), 100)
    assert found.threads == torch.get_num_threads()
    second.save(checkpoint(110))
    second.save(checkpoint(120))
    assert artifacts.list("jobs/job/checkpoints") == ["1.9", "2.110", "2.120"]


def test_a_damaged_newest_is_passed_over(artifacts: Artifacts, tmp_path: Path) -> None:
    checkpoints = of(artifacts, tmp_path / "scratch")
    for step in (1, 2, 3):
        checkpoints.save(checkpoint(step, best=step == 1))
    damage(artifacts, "1.3")
    found = of(artifacts, tmp_path / "scratch", token=2).newest()
    assert found is not None
    assert found.state.progress.step == 2
    damage(artifacts, "1.2")
    found = of(artifacts, tmp_path / "scratch", token=2).newest()
    assert found is not None
    assert found.state.progress.step == 1


def test_where_none_is_whole_the_job_begins_anew(artifacts: Artifacts, tmp_path: Path) -> None:
    checkpoints = of(artifacts, tmp_path / "scratch")
    assert checkpoints.newest() is None
    checkpoints.save(checkpoint(1))
    damage(artifacts, "1.1")
    assert of(artifacts, tmp_path / "scratch", token=2).newest() is None


def test_a_zombie_leaves_the_checkpoints_of_later_attempts_alone(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    zombie = of(artifacts, tmp_path / "scratch", token=1)
    zombie.save(checkpoint(1))
    later = of(artifacts, tmp_path / "scratch", token=2)
    later.newest()
    later.save(checkpoint(2))
    for step in (3, 4, 5):
        zombie.save(checkpoint(step))
    assert "2.2" in artifacts.list("jobs/job/checkpoints")
    found = of(artifacts, tmp_path / "scratch", token=3).newest()
    assert found is not None
    assert found.place == Place(2, 2)


def test_the_same_step_twice_is_one_checkpoint(artifacts: Artifacts, tmp_path: Path) -> None:
    checkpoints = of(artifacts, tmp_path / "scratch")
    checkpoints.save(checkpoint(4))
    checkpoints.save(checkpoint(4))
    assert artifacts.list("jobs/job/checkpoints") == ["1.4"]
