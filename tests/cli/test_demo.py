from __future__ import annotations

import json
import shlex

from cli.curl import curl_lines
from cli.demo import JOB, choice_lines, parse_events
from cli.scans import draw


def test_events_are_read_and_what_has_no_number_is_left_out() -> None:
    stream = [
        "id: 1",
        "event: state",
        'data: {"state": "queued"}',
        "",
        ": ping",
        "",
        "id: 2",
        "event: done",
        "data: {}",
        "",
    ]
    assert list(parse_events(iter(stream))) == [("1", "state", '{"state": "queued"}'), ("2", "done", "{}")]


def test_starts_that_raced_are_told_and_the_choice_is_marked() -> None:
    first, second, unraced = (
        {"init": {"name": name}, "error": error, "rounds": [{"steps": 208, "error": error}]}
        for name, error in (("pca", 0.5), ("orthogonal", 0.75), ("whitening", None))
    )
    lines = choice_lines({"chosen": {"name": "pca"}, "candidates": [first, second, unraced]})
    assert [line.split() for line in lines[2:]] == [
        ["pca", "0.500", "after", "208", "steps", "chosen"],
        ["orthogonal", "0.750", "after", "208", "steps"],
    ]


def test_scans_are_drawn_side_by_side_under_their_captions() -> None:
    dark, light = [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]
    assert draw([light, dark], captions=["one", "two"]) == "one    two\n@@\n  @@"


def test_the_commands_to_copy_hold_json_that_survives_a_shell() -> None:
    submit, _, encode = curl_lines("http://host:1", job=JOB, row=[0.0, 0.3125, 1.0])
    assert json.loads(shlex.split(submit)[-1]) == JOB
    assert json.loads(shlex.split(encode)[-1]) == {"inputs": [[0, 0.31, 1]]}


def test_a_key_is_named_but_never_printed() -> None:
    assert all(
        '"Authorization: Bearer $HOURGLASS_ADMIN_KEY"' in line
        for line in curl_lines("http://host:1", key=True)
    )
