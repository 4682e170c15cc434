from __future__ import annotations

import pytest

from autoencoders.spec import FAMILIES
from tests.service.conftest import Door


def test_every_family_is_told(door: Door) -> None:
    told = door.get("/v1/catalog").json()["items"]
    assert [family["family"] for family in told] == list(FAMILIES)
    assert {"inits", "activations", "optimizers", "samples"} <= set(FAMILIES)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_tells_every_word_with_its_schema(door: Door, family: str) -> None:
    words = door.get(f"/v1/catalog/{family}").json()["items"]
    assert [word["name"] for word in words] == list(FAMILIES[family].names())
    for word in words:
        assert set(word) == {"name", "summary", "formula", "reference", "parameters"}
        assert word["summary"]
        assert word["parameters"]["type"] == "object"
