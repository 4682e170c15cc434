"""`hourglass train spec.json data.csv`: an experiment with a progress bar, no server."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.errors import Refused

if TYPE_CHECKING:
    from autoencoders import Dataset, Experiment, Spec


def train(spec_file: Path, data_file: Path, out: Path) -> None:
    """Read the rows, train, save the model's folder with its graphs, and print its error beside baselines.

    Raises:
        Refused: a file is not there, the spec is not one, or the folder is taken.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # before torch is imported
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise Refused(f"{out} exists already; give another folder with --out")
    words = read_words(spec_file)
    if not data_file.is_file():
        raise Refused(f"there is no file {data_file}")
    from autoencoders import Experiment
    from autoencoders.export.optional import export

    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="hourglass-") as scratch:
        dataset = read_rows(data_file, Path(scratch) / "dataset")
        facts = dataset.facts
        console.print(
            f"{facts.rows:,} rows of shape {list(facts.shape)}, {facts.held_out_rows:,} of them held out"
        )
        spec = read_spec(words).resolve(facts)
        spec.check(facts)
        experiment = Experiment(settled(spec, dataset, console), dataset)
        _run(experiment, console)
        export(out, experiment.save(out), dataset, lambda warned: console.print(warned.message))
        _print_outcome(experiment, out)


def read_words(file: Path) -> dict[str, Any]:
    """The words of a spec's file.

    Raises:
        Refused: it is not there, or not JSON.
    """
    try:
        words = json.loads(file.read_text())
    except OSError as error:
        raise Refused(f"cannot read the spec {file} ({error.strerror})") from None
    except ValueError as error:
        raise Refused(f"{file} is not JSON: {error}") from None
    if not isinstance(words, dict):
        raise Refused(f'{file} is not a JSON object, such as {{"code": 8}}')
    # A job's body does as well: what says where its rows come from and where it goes has no meaning here.
    elsewhere = ("dataset", "model", "labels", "promote", "align_to")
    return {name: value for name, value in words.items() if name not in elsewhere}


def read_rows(file: Path, folder: Path) -> Dataset:
    """A file's rows, written to the folder in their canonical form."""
    from autoencoders.data.dataset import Dataset
    from autoencoders.data.options import ReadOptions
    from autoencoders.data.readers import read

    read(file, format=None, destination=folder, options=ReadOptions(name=file.stem))
    return Dataset.open(folder)


def read_spec(words: dict[str, Any]) -> Spec:
    """The spec of these words.

    Raises:
        Refused: they are not one; says where.
    """
    from autoencoders import Spec

    try:
        return Spec.model_validate(words)
    except ValidationError as error:
        places = (f"{'.'.join(map(str, each['loc'])) or 'spec'}: {each['msg']}" for each in error.errors())
        raise Refused("; ".join(places)) from None


def settled(spec: Spec, dataset: Dataset, console: Console) -> Spec:
    """The spec with an init where it said `auto`; a line for each candidate tells how it came to that."""
    from autoencoders.study.settle import Settling

    settling = Settling(spec, dataset)
    for _ in settling.run():
        pass
    for entry in (settling.evidence["auto"] or {}).get("candidates", []):
        raced = " then ".join(f"{one['steps']} steps {_figure(one['error'])}" for one in entry["rounds"])
        said = raced or entry["why"] or f"forecast {_figure(entry['forecast'])}, did not race"
        console.print(f"auto: {entry['init']['name']}: {said}", markup=False)
    return settling.spec


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _run(experiment: Experiment, console: Console) -> None:
    from autoencoders.events import Diagnosed, Epoch, Initialised, Log, Step, Warned

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[error]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("initialising", total=None, error="")
        for event in experiment.run():
            match event:
                case Initialised():
                    progress.update(bar, description=f"init {event.word}")
                case Diagnosed():
                    console.print(verdict_line(event.diagnosis["verdict"]), markup=False)
                case Step():
                    progress.update(
                        bar, description=f"epoch {event.epoch + 1}", completed=event.step, total=event.steps
                    )
                case Epoch():
                    progress.update(bar, error=f"held-out error {event.error:.4g}")
                case Warned() | Log():
                    console.print(event.message)


def verdict_line(verdict: dict[str, Any]) -> str:
    """A verdict in one line: the outlook, its cause and its cure."""
    said = [str(verdict.get(part) or "") for part in ("outlook", "cause", "cure")]
    return ": ".join((said[0], "; ".join(part for part in said[1:] if part)))


def _print_outcome(experiment: Experiment, out: Path) -> None:
    manifest = json.loads((out / "model.json").read_text())
    error, baselines = manifest["metrics"]["error"], experiment.baselines
    print(f"model {out}")
    print(f"held-out squared error per row (scaled units): model {error:.4g}", end="")
    for name, label in (("mean", "mean"), ("pca", "PCA at this code size")):
        value = baselines.get(name)
        print(f", {label} {'unknown' if value is None else f'{value:.4g}'}", end="")
    print()
