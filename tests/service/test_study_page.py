"""The page of a study: whole in itself, and right about what it draws."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from typing import Any

import pytest

from service.report_drawing import HEIGHT, PAD
from service.study_drawing import COLOURS, Curve, Intervals, curves, heat_map
from service.study_page import render
from tests.service.test_report import Outside

PATH = "architecture.activation"
STUDY: dict[str, Any] = {
    "id": "study_x",
    "state": "succeeded",
    "dataset": {"id": "ds_x", "name": "<b>rows</b>"},
    "model": "rows",
    "base": {"dataset": "rows", "code": 2},
    "grid": {"init": ["lsuv", {"name": "normal", "std": 0.01}], PATH: ["tanh", "<i>"]},
    "preset": None,
    "seeds": [0, 1],
    "budget": {"epochs": 9, "seconds": None},
    "learning_rate": "trial",
    "racing": True,
    "unfit": "skip",
    "keep_models": "winner",
    "labels": {},
    "cells": 3,
    "skipped": [{"cell": {"init": "whitening"}, "why": "it is <tied>"}],
    "progress": {"jobs": 6, "jobs_over": 6, "jobs_running": 0},
}
FIRST, SECOND, THIRD = (
    {"init": "lsuv", PATH: "tanh"},
    {"init": {"name": "normal", "std": 0.01}, PATH: "tanh"},
    {"init": "lsuv", PATH: "<i>"},
)
REPORT: dict[str, Any] = {
    "study": "study_x",
    "complete": True,
    "baselines": {"mean": 9.0, "pca": 2.0},
    "ranking": [
        {
            "cell": FIRST,
            "error": 1.5,
            "errors": [1.4, 1.6],
            "interval": [1.4, 1.6],
            "tied_with": [SECOND],
            "outlook": "learns",
            "rung": 2,
            "raced_out": False,
            "failed": 0,
            "learning_rate": None,
            "learning_rates": [0.001, 0.003],
            "epochs": 9.0,
            "seconds": {"init": 0.2, "train": 1234.5},
        },
        {
            "cell": SECOND,
            "error": 1.55,
            "interval": [1.4, 1.7],
            "tied_with": [FIRST],
            "rung": 2,
            "outlook": "slow",
        },
        {
            "cell": THIRD,
            "error": None,
            "interval": None,
            "tied_with": [],
            "rung": 1,
            "raced_out": True,
            "failed": 2,
        },
    ],
    "stuck": [
        {
            "cell": THIRD,
            "error": None,
            "outlook": "diverges",
            "forecast": "stuck",
            "cause": "all rows get the <same> code",
            "cure": "choose lsuv",
        }
    ],
    "cost": [
        {
            "target": 2.0,
            "what": "PCA's error",
            "cells": [{"cell": FIRST, "epochs": 3.5, "steps": 70.0, "seconds": 0.5}] * 9,
        }
    ],
    "curves": [
        {"cell": FIRST, "points": [{"epoch": 1, "error": 4.0}, {"epoch": 9, "error": 1.5}]},
        {"cell": SECOND, "points": [{"epoch": 1, "error": 5.0}, {"epoch": 9, "error": 1.55}]},
        {"cell": THIRD, "points": []},
    ],
    "heat_map": {
        "rows": {"path": "init", "values": STUDY["grid"]["init"]},
        "columns": {"path": PATH, "values": STUDY["grid"][PATH]},
        "errors": [[1.5, 6.25], [1.55, None]],
        "raced_out": [[False, True], [False, False]],
    },
    "predictors": [
        {"figure": "trial.closed", "correlation": -0.9, "cells": 3, "means": "the trial's <share>"}
    ],
    "recommended": {"dataset": "rows", "init": "lsuv", "labels": {"who": "it's me"}},
    "advice": "Use <lsuv>. It matters.",
    "notes": ["Few <seeds>."],
}


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    page = render(STUDY, REPORT, address="http://house")
    reader = Outside()
    reader.feed(page)
    assert reader.found == []
    assert not {"script", "b", "i", "same", "tied", "share", "seeds", "lsuv"} & set(reader.tags)
    for part in (
        "Use &lt;lsuv&gt;. It matters.",
        "3 cells with 2 seeds",
        "each for at most 9 epochs",
        "losers stopped early",
        "normal(std=0.01)",
        "1.4 to 1.6",
        "0.001, 0.003",
        "1,234",
        "failed",
        "1, raced out",
        "all rows get the &lt;same&gt; code. Cure: choose lsuv",
        "predicting the mean 9, PCA with the same code size 2",
        "and 1 cell more",
        "the trial&#x27;s &lt;share&gt;",
        "-0.90",
        "Few &lt;seeds&gt;.",
        "Left out: init=whitening: it is &lt;tied&gt;",
        "Learning curves",
        "Held-out error by init and architecture.activation",
    ):
        assert part in page, part
    assert "Not complete" not in page


def test_what_is_recommended_can_be_copied_into_a_shell() -> None:
    page = render(STUDY, REPORT, address="http://house")
    assert "curl -s http://house/v1/jobs " in page
    assert "it&#x27;&quot;&#x27;&quot;&#x27;s me" in page


def test_ties_are_told_by_their_places() -> None:
    rows = render(STUDY, REPORT, address="").partition("<h2>Ranking")[2].split("<tr>")[2:4]
    assert re.search(r"<td>2</td><td>learns</td>", rows[0])
    assert re.search(r"<td>1</td><td>slow</td>", rows[1])


def test_a_cell_that_was_raced_out_on_the_plateau_is_said_to_be() -> None:
    line = {**REPORT["stuck"][0], "outlook": None}
    told = render(STUDY, {**REPORT, "stuck": [line]}, address="http://house")
    assert "<td>raced out</td>" in told
    assert "None" not in told


def test_a_page_of_a_study_that_has_just_begun_says_so() -> None:
    begun = {**STUDY, "state": "queued", "progress": {"jobs": 6, "jobs_over": 0, "jobs_running": 0}}
    page = render({**begun, "racing": False, "learning_rate": "fixed"}, {"study": "study_x"}, address="")
    assert "Not complete: 0 of 6 jobs over" in page
    assert "No cell has an error yet" in page
    assert "Nothing can be recommended yet" in page
    assert "<svg" not in page


def test_a_study_by_the_clock_says_its_seconds() -> None:
    timed = {**STUDY, "budget": {"epochs": None, "seconds": 30.0}, "racing": False}
    page = render(timed, REPORT, address="http://house")
    assert "each for 30 seconds, initialisation counted" in page
    assert "&quot;budget&quot;: {&quot;seconds&quot;: 30.0}" in page


def test_a_preset_is_asked_for_again_by_its_name() -> None:
    page = render({**copy.deepcopy(STUDY), "preset": "inits"}, REPORT, address="http://house")
    request = page.partition("The request")[2]
    assert "&quot;preset&quot;: &quot;inits&quot;" in request
    assert "&quot;grid&quot;" not in request


def _ends(picture: str) -> list[float]:
    return [float(y) for y in re.findall(r"<text x=[\d.]+ y=([\d.]+) font-size=11 fill='#(?!8b)", picture)]


def test_every_cell_has_its_line_and_the_first_have_colours_and_numbers() -> None:
    lines = [Curve(f"cell {place}", [(1, 5.0), (10, 1.0 + place / 100)], place) for place in range(1, 13)]
    picture = curves(lines, {"mean": 9.0, "PCA": 1e-6})
    assert len(re.findall("<title>[0-9]+. cell", picture)) == 12
    assert all(picture.count(f"stroke='{colour}'") == 1 for colour in COLOURS)
    ends = _ends(picture)
    assert len(ends) == len(COLOURS)
    assert all(below - above >= 10.9 for above, below in pairwise(ends))
    assert max(ends) <= HEIGHT - PAD, "numbers of the best lines stay inside the chart"
    assert "mean" in picture
    assert "PCA" not in picture


def test_a_better_error_is_drawn_below_a_worse_one() -> None:
    picture = curves([Curve("a", [(0, 10.0), (4, 1.0)], 1)], {})
    found = re.search(r"points='([\d.]+),([\d.]+) ([\d.]+),([\d.]+)'><title>1. a", picture)
    assert found is not None
    left, high, right, low = map(float, found.groups())
    assert left < right
    assert high < low


@pytest.mark.parametrize("points", [[], [(1.0, 0.0)], [(1.0, float("inf"))]])
def test_nothing_is_drawn_where_nothing_can_be(points: list[tuple[float, float]]) -> None:
    assert curves([Curve("a", points, 1)], {"mean": 1.0}) == ""
    assert heat_map(["a"], ["b"], [[None]]) == ""


def test_a_line_of_one_epoch_is_a_dot() -> None:
    assert "<title>1. &lt;a&gt;</title></circle>" in curves([Curve("<a>", [(1, 2.0)], 1)], {})


def test_a_heat_map_tells_errors_apart() -> None:
    picture = heat_map(
        ["a", "b"], ["c", "d"], [[1.0, 100.0], [10.0, None]], pale=[[False, True], [False, False]]
    )
    colours = re.findall(r"fill='rgb\((\d+),", picture)
    assert [int(colours[0]), int(colours[2]), int(colours[1])] == sorted(map(int, colours))
    assert picture.count("fill-opacity=.15") == picture.count("opacity=.5") == 1
    assert "a, d: 100, raced out" in picture


def test_intervals_share_one_axis_and_what_diverged_stays_on_it() -> None:
    intervals = Intervals([1.0, 2.0, 1e9], ceiling=4.0)
    drawn = "".join(intervals.draw(error, None, "red") for error in (1.0, 2.0, 1e9))
    xs = [float(x) for x in re.findall(r"cx=([\d.]+)", drawn)]
    assert xs == pytest.approx([5.0, 80.0, 155.0])
    assert "x1=5.0 x2=80.0" in intervals.draw(1.5, [1.0, 2.0], "red")
