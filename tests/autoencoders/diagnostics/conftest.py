"""Real rows for the tests of diagnostics."""

from __future__ import annotations

import pytest

from autoencoders.data import Dataset, samples, write_sample


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("digits") / "dataset"
    write_sample(samples.choose("digits"), folder)
    return Dataset.open(folder)
