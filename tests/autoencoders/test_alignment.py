"""Alignment: codes turned onto an earlier model's, and not a reconstruction changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoencoders.alignment import Motion, align, move, procrustes, recall, unfit
from autoencoders.layers.norms import norms
from tests.autoencoders.export import models

RNG = np.random.default_rng(0)


def rotation(size: int) -> Any:
    return np.linalg.qr(np.random.default_rng(3).normal(size=(size, size)))[0]


@pytest.mark.parametrize("norm", norms.names())
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_motion_of_the_code_leaves_reconstructions(architecture: str, norm: str) -> None:
    word = {"name": norm, **({"groups": 2} if norm == "group" else {})}
    trained = models.model({**models.ARCHITECTURES[architecture], "code": 6, "norm": word})
    rows = models.rows(50)
    codes, before = trained.encode(rows), trained.reconstruct(rows)
    reads_bias = norm != "batch" or architecture.startswith("conv")
    offset = np.arange(6.0) if reads_bias and _has_bias(trained) else np.zeros(6)
    motion = Motion(rotation(6), offset)
    move(trained.model, motion)
    spread = float(codes.std())
    np.testing.assert_allclose(trained.encode(rows), codes @ motion.rotation + offset, 1e-5, 1e-5 * spread)
    # A shift far outside of the codes' own spread costs digits: hence the room.
    np.testing.assert_allclose(trained.reconstruct(rows), before, 1e-4, 1e-4 * float(before.std()))


def _has_bias(trained: Any) -> bool:
    return next(layer for layer in trained.model.layers() if layer.part == "decoder").bias is not None


def test_procrustes_finds_a_motion_again() -> None:
    codes, turn = RNG.normal(size=(200, 5)), rotation(5)
    found = procrustes(codes, codes @ turn + 3.0)
    np.testing.assert_allclose(found.rotation, turn, atol=1e-10)
    np.testing.assert_allclose(found.offset, 3.0, atol=1e-10)
    still = procrustes(codes, codes @ turn, moves=False)
    np.testing.assert_allclose(still.rotation, turn, atol=1e-10)
    np.testing.assert_array_equal(still.offset, 0)


def test_a_turned_twin_is_brought_back_onto_its_model() -> None:
    earlier = models.model({**models.ARCHITECTURES["dense"], "code": 6})
    new = models.model({**models.ARCHITECTURES["dense"], "code": 6})
    move(new.model, Motion(rotation(6), np.full(6, 2.0)))
    rows = models.rows(300)
    before = new.reconstruct(rows)
    found = align(new.model, new.affine, earlier, rows, to="faces@3")
    assert found.recall_before < 0.6
    assert found.recall_after > 0.99
    assert found.unexplained < 1e-6
    assert (found.to, found.moved, found.fitted_rows, found.compared_rows) == ("faces@3", True, 150, 150)
    np.testing.assert_allclose(new.encode(rows), earlier.encode(rows), 1e-4, 1e-4)
    np.testing.assert_allclose(new.reconstruct(rows), before, 1e-5, 1e-5 * float(before.std()))


def test_recall_counts_the_neighbours_that_are_found_again() -> None:
    stored = np.arange(30.0)[:, None]
    assert recall(stored, stored) == 1.0
    assert recall(stored[::-1], stored) < 0.6
    assert recall(stored[:1], stored[:1]) == 1.0


def earlier_manifest(**code: Any) -> dict[str, Any]:
    spec = {"architecture": {"code": {"name": "plain", "size": 6, **code}}}
    return {"spec": spec, "facts": {"shape": [7, 6], "columns": None}}


@pytest.mark.parametrize(
    ("earlier", "code", "said"),
    [
        ({}, {"name": "plain", "size": 6}, None),
        ({}, {"name": "top_k", "size": 6, "k": 2}, "this job's code is 'top_k'"),
        ({"name": "variational"}, {"name": "plain", "size": 6}, "old@1's code is 'variational'"),
        ({"size": 5}, {"name": "plain", "size": 6}, "a code of 5 numbers"),
    ],
)
def test_what_cannot_be_aligned_is_said(
    earlier: dict[str, Any], code: dict[str, Any], said: str | None
) -> None:
    facts = models.model({**models.ARCHITECTURES["dense"], "code": 6}).facts
    why = unfit("old@1", earlier_manifest(**earlier), code, facts)
    assert why is None if said is None else said in str(why)


def test_rows_of_another_kind_cannot_be_aligned() -> None:
    facts = models.model({**models.ARCHITECTURES["dense"], "code": 6}).facts
    code = {"name": "plain", "size": 6}
    assert "[42]" in str(unfit("old@1", {**earlier_manifest(), "facts": {"shape": [42]}}, code, facts))
    table = facts.model_copy(update={"columns": ("a", "b")})
    other = {"shape": [7, 6], "columns": ["b", "a"]}
    assert "other columns" in str(unfit("old@1", {**earlier_manifest(), "facts": other}, code, table))
