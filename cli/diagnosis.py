"""`hourglass diagnose spec.json --data data.csv`: what an initialisation does, before any training."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cli.errors import Refused
from cli.offline import read_rows, read_spec, read_words, settled, verdict_line

if TYPE_CHECKING:
    from autoencoders import Dataset

_FIGURES = ("mean", "variance", "saturated", "dead", "gradient", "backward")


def diagnose(spec_file: Path, data: str) -> None:
    """Initialise the model and print the verdict, the figures of every layer, and those of the code.

    Args:
        spec_file: a job as JSON.
        data: a file of rows, or the name of a built-in sample.

    Raises:
        Refused: the spec is not one, or there are no such rows.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # before torch is imported
    words = read_words(spec_file)
    from autoencoders import Experiment

    with tempfile.TemporaryDirectory(prefix="hourglass-") as scratch:
        dataset = _rows_of(data, Path(scratch) / "dataset")
        experiment = Experiment(settled(read_spec(words), dataset, Console(stderr=True)), dataset)
        for _ in experiment.initialise():
            pass
        _print(experiment.diagnose().to_json())


def _rows_of(data: str, folder: Path) -> Dataset:
    from autoencoders import Dataset
    from autoencoders.data import samples, write_sample

    if Path(data).is_file():
        return read_rows(Path(data), folder)
    if data not in samples:
        raise Refused(f"there is no file and no sample {data}; the samples are {', '.join(samples.names())}")
    write_sample(samples.choose(data), folder)
    return Dataset.open(folder)


def _print(found: dict[str, Any]) -> None:
    print(verdict_line(found["verdict"]))
    rows = [("layer", *_FIGURES, "in theory", "chi")]
    for layer in found["layers"]:
        theory = layer.get("predicted") or {}
        figures = (*(layer[name] for name in _FIGURES), theory.get("variance"), theory.get("chi"))
        rows.append((layer["name"], *map(_number, figures)))
    # Plain columns: they are as wide in a file as in a terminal.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        print(f"{name:<{widths[0]}}  {'  '.join(numbers)}")
    code, losses = found["code"], found["losses"]
    print(
        f"code: effective rank {_number(code['effective_rank'])}, "
        f"correlation between rows {_number(code['correlation'])}, active units {code['active']}"
    )
    print(
        f"held-out squared error per row (scaled units): at the start {_number(losses['start'])}, "
        f"mean {_number(losses['mean'])}, PCA at this code size {_number(losses['pca'])}"
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
