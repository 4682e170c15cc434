"""The parts of a report: arrays in, JSON out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from autoencoders.data.scaling import Affine
from worker import report


class Halver:
    """A model whose reconstruction is half of what it is given."""

    def encode(self, rows: Any) -> Any:
        return np.asarray(rows[:, :2], dtype=np.float32)

    def reconstruct(self, rows: Any) -> Any:
        return np.asarray(rows, dtype=np.float32) / 2


def affine(features: int, factor: float = 1.0) -> Affine:
    return Affine(np.zeros(features, np.float32), np.full(features, factor, np.float32))


def test_numbers_survive_json_as_the_same_float32() -> None:
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)
    back = np.asarray(json.loads(json.dumps(report.rounded(values))), dtype=np.float32)
    np.testing.assert_array_equal(back, values)


def test_what_is_no_number_becomes_null() -> None:
    assert report.rounded(np.array([[1.0, np.nan], [np.inf, 0.1]])) == [[1.0, None], [None, 0.1]]


def test_spread_takes_the_first_and_the_last_and_never_too_many() -> None:
    assert report.spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert report.spread(101, 3).tolist() == [0, 50, 100]


def test_the_gallery_shows_rows_beside_their_reconstructions_by_upload_number() -> None:
    rows = np.arange(80, dtype=np.uint8).reshape(40, 2)
    shown = report.gallery(rows, np.arange(100, 140), Halver().reconstruct, (2,))
    assert len(shown["inputs"]) == report.GALLERY_ROWS
    assert (shown["rows"][0], shown["rows"][-1]) == (100, 139)
    assert shown["reconstructions"][-1] == [39.0, 39.5]


def test_a_gallery_of_huge_rows_stays_small() -> None:
    rows = np.zeros((20, report.GALLERY_NUMBERS), dtype=np.uint8)
    assert len(report.gallery(rows, np.arange(20), Halver().reconstruct, rows.shape[1:])["inputs"]) == 1


def test_the_code_map_is_the_same_for_mirrored_axes_and_says_what_it_explains() -> None:
    codes = np.random.default_rng(1).normal(size=(50, 4)) * [5.0, 2.0, 0.1, 0.1]
    one = report.code_map(codes, np.arange(50), np.zeros(50))
    assert sum(one["explained"]) > 0.99
    np.testing.assert_allclose(
        np.abs(np.corrcoef(np.array(one["points"])[:, 0], codes[:, 0])[0, 1]), 1, atol=1e-3
    )
    again = report.code_map(codes, np.arange(50), np.zeros(50))
    assert one == again


def test_a_code_of_one_number_has_a_map_too() -> None:
    drawn = report.code_map(np.array([[1.0], [3.0]]), np.array([7, 9]), np.array([0.5, 0.25]))
    assert drawn["points"] == [[-1.0, 0.0], [1.0, 0.0]]
    assert drawn["explained"] == [1.0, 0.0]


def test_codes_that_are_all_equal_have_a_map_in_one_point() -> None:
    assert report.code_map(np.ones((3, 2)), np.arange(3), np.zeros(3))["points"] == [[0.0, 0.0]] * 3


def test_the_worst_rows_name_the_features_that_their_error_lies_in() -> None:
    rows = np.array([[1.0, 1.0], [2.0, 8.0], [0.0, 0.0]], dtype=np.float32)
    errors, _ = report.held_out_errors(Halver(), affine(2), rows)
    worst = report.worst_rows(
        errors,
        lambda chosen: report.squares(Halver(), affine(2), rows[chosen]),
        np.array([10, 11, 12]),
        ["small", "large"],
        lambda number: {"name": f"row-{number}"},
    )
    assert worst[0]["row"] == 11
    assert worst[0]["ids"] == {"name": "row-11"}
    assert worst[0]["features"][0] == {"feature": "large", "share": report.rounded(np.array([16 / 17]))[0]}


def test_errors_are_the_same_in_portions(monkeypatch: Any) -> None:
    rows = np.random.default_rng(2).normal(size=(100, 3)).astype(np.float32)
    whole = report.held_out_errors(Halver(), affine(3, 2.0), rows)
    monkeypatch.setattr(report, "CHUNK_BYTES", 12 * 7)
    parts = report.held_out_errors(Halver(), affine(3, 2.0), rows)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1])


def test_features_are_listed_in_scaled_and_in_their_own_units() -> None:
    (listed,) = report.listed_features(["height"], np.array([4.0]), affine(1, 0.5))
    assert listed == {"feature": "height", "error": 4.0, "root_in_own_units": 4.0}


def test_an_epoch_trained_twice_is_one_point_of_the_curve() -> None:
    epochs = [{"epoch": 1, "error": 3.0}, {"epoch": 2, "error": 2.0}, {"epoch": 2, "error": 2.5}]
    assert [(point["epoch"], point["error"]) for point in report.curves(epochs)] == [(1, 3.0), (2, 2.5)]


def test_the_history_leaves_out_what_the_curves_show() -> None:
    lines = report.history([(1, "state", "then", {"state": "queued"}), (2, "epoch", "now", {})])
    assert [line["number"] for line in lines] == [1]


def test_only_a_verdict_that_forebodes_nothing_good_is_a_warning() -> None:
    def said(outlook: str) -> str | None:
        return report.warning_of({"verdict": {"outlook": outlook, "cause": "so flat", "cure": "choose lsuv"}})

    assert said("learns") is None
    assert said("slow") is None
    assert said("stuck") == "diagnosis: stuck: so flat; choose lsuv"
    assert said("diverges") == "diagnosis: diverges: so flat; choose lsuv"
    assert report.warning_of({"verdict": None}) is None
    large = {
        "outlook": "learns",
        "cause": "well",
        "cure": None,
        "concern": "exploding: so large; choose lsuv",
    }
    assert report.warning_of({"verdict": large}) == "diagnosis: exploding: so large; choose lsuv"


def test_the_diagnosis_of_a_report_is_that_of_its_job() -> None:
    lines: list[tuple[int, str, str, dict[str, Any]]] = [
        (1, "state", "then", {"state": "queued"}),
        (2, "diagnosis", "then", {"diagnosis": {"rows": 3}}),
    ]
    assert report.diagnosis_in(lines) == {"rows": 3}
    assert report.diagnosis_in(lines[:1]) is None
    assert [line["number"] for line in report.history(lines)] == [1]
