"""The codes, and the integer that is short for the plain one."""

from __future__ import annotations

from typing import Annotated

import pytest
import torch
from pydantic import BaseModel, ValidationError

from autoencoders.catalog import Choice
from autoencoders.models.codes import Code, codes


class _Body(BaseModel):
    code: Annotated[Choice, codes]


def test_an_integer_is_a_plain_code() -> None:
    body = _Body.model_validate({"code": 8})
    assert body.model_dump() == {"code": {"name": "plain", "size": 8}}
    assert _Body.model_validate_json(body.model_dump_json()) == body


@pytest.mark.parametrize("value", [0, -1, 70_000])
def test_a_size_out_of_range_is_refused_where_it_stands(value: int) -> None:
    with pytest.raises(ValidationError) as refused:
        _Body.model_validate({"code": value})
    assert refused.value.errors()[0]["loc"] == ("code", "plain", "size")


@pytest.mark.parametrize("value", [True, 2.5, None, [8], "round"])
def test_what_is_no_code_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        _Body.model_validate({"code": value})


def test_a_plain_code_is_the_code_layers_output() -> None:
    made = codes.call(codes.choose(3))
    assert isinstance(made, Code)
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    code, terms = made(features)
    assert torch.equal(code, features)
    assert torch.equal(made.point(features), features)
    assert terms == {}
    assert made.size == made.features == 3
