"""A training's state on disk: whole, exact, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autoencoders.errors import CheckpointDamaged
from autoencoders.events import Checkpoint
from autoencoders.training import TrainingState
from autoencoders.training.state import copied
from tests.autoencoders.tiny import Training


def a_state() -> TrainingState:
    training = Training(optimizer="muon", schedule="plateau")
    for event in training.start(checkpoint_seconds=0):
        if isinstance(event, Checkpoint):
            return event.state
    raise AssertionError("no checkpoint")


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[k], other[k]) for k in one)
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    state = a_state()
    state.save(tmp_path / "checkpoint")
    assert same(vars(TrainingState.load(tmp_path / "checkpoint")), vars(state))


def test_a_folder_appears_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    a_state().save(tmp_path / "deep" / "checkpoint")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["checkpoint"]
    assert sorted(path.name for path in (tmp_path / "deep" / "checkpoint").iterdir()) == [
        "state.json",
        "state.pt",
    ]


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(FileExistsError):
        a_state().save(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    "damage", ["one byte", "cut", "no state", "no manifest", "no folder", "not json", "format"]
)
def test_damage_is_refused_with_a_word(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "checkpoint"
    a_state().save(folder)
    state, manifest = folder / "state.pt", folder / "state.json"
    content = bytearray(state.read_bytes())
    if damage == "one byte":
        content[len(content) // 2] ^= 1
        state.write_bytes(content)
    elif damage == "cut":
        state.write_bytes(content[:100])
    elif damage == "no state":
        state.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "no folder":
        folder = tmp_path / "nowhere"
    elif damage == "not json":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(CheckpointDamaged):
        TrainingState.load(folder)


def test_a_state_from_before_there_were_factors_is_read_as_having_none(tmp_path: Path) -> None:
    import hashlib

    folder, state = tmp_path / "checkpoint", a_state()
    state.save(folder)
    stored = torch.load(folder / "state.pt", weights_only=True)
    del stored["factors"]
    torch.save(stored, folder / "state.pt")
    manifest = json.loads((folder / "state.json").read_text())
    manifest |= {"format": 1, "sha256": hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest()}
    (folder / "state.json").write_text(json.dumps(manifest))
    assert same(vars(TrainingState.load(folder)), vars(state))


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("code ran",))

    folder = tmp_path / "checkpoint"
    a_state().save(folder)
    torch.save({"progress": Trap()}, folder / "state.pt")
    import hashlib

    manifest = json.loads((folder / "state.json").read_text())
    manifest["sha256"] = hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest()
    (folder / "state.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointDamaged):
        TrainingState.load(folder)


def test_a_copy_shares_no_memory() -> None:
    tensor = torch.zeros(3)
    nested = {"a": [tensor, (tensor, 1)], "b": "text"}
    twin = copied(nested)
    tensor.fill_(1)
    assert torch.equal(twin["a"][0], torch.zeros(3))
    assert torch.equal(twin["a"][1][0], torch.zeros(3))
    assert twin["b"] == "text"
