"""`align_to` at the door: pinned to a version, kept while needed, refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.conftest import Door

BODY: dict[str, Any] = {"dataset": "digits", "architecture": {"name": "dense", "widths": [16]}, "code": 4}


def test_the_model_to_align_to_is_pinned(served: Door) -> None:
    served.put("/v1/models/digits-code/aliases/champion", json={"version": 1})
    for asked, exact in (
        ("digits-code", "digits-code@2"),
        ("digits-code@1", "digits-code@1"),
        ("digits-code@champion", "digits-code@1"),
    ):
        answer = served.post("/v1/jobs", json={**BODY, "align_to": asked})
        assert answer.status_code == 202, answer.text
        assert answer.json()["spec"]["align_to"] == exact
    assert served.delete("/v1/models/digits-code@1").status_code == 409


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"align_to": "nobody"}, "nobody"),
        ({"align_to": "digits-code", "code": 5}, "a code of 4 numbers, this job one of 5"),
        (
            {"align_to": "digits-code", "code": {"name": "top_k", "size": 4, "k": 2}},
            "only a plain linear code",
        ),
        ({"align_to": "blobs-code"}, "rows of shape [8]"),
    ],
)
def test_what_cannot_be_aligned_is_refused_with_the_reason(
    served: Door, change: dict[str, Any], said: str
) -> None:
    answer = served.post("/v1/jobs", json={**BODY, **change})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["loc"] == ["align_to"]
    assert said in error["msg"]
