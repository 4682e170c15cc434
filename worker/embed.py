"""An embed job, in the child: a dataset's rows through a model, part by part, and in the end one file.

The bounds of the parts are settled by the first attempt, and each part is kept whole or not at all: whoever
follows a killed attempt computes what is missing, and the file is what it would have been undisturbed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoencoders import bundle
from autoencoders.bundle import TrainedModel
from autoencoders.data.arrays import Array
from autoencoders.data.dataset import Dataset
from autoencoders.data.manifest import Facts
from autoencoders.errors import DataRefused
from worker.devices import thread_count, torch_device
from worker.embeddings import Column, columns_of, write_npy, write_parquet
from worker.exits import Left
from worker.holding import Holding
from worker.parts import Float32, Parts, Plan, part_rows
from worker.upload import keep_file


class Embedding:
    """One attempt at encoding a dataset."""

    def __init__(self, held: Holding) -> None:
        self._artifacts, self._settings, self._row = held.artifacts, held.settings, held.row
        self._record, self._publisher = held.record, held.publisher
        self._wishes, self._scratch = held.wishes, held.scratch
        self._parts = Parts(held.artifacts, held.row.id, held.scratch)
        self._outputs: Sequence[str] = held.row.spec["outputs"]

    def run(self) -> None:
        """The attempt from its first read to the row's end.

        Raises:
            EarlierModelGone: the model was removed.
            DataRefused: the dataset's rows are not the model's.
            Left: the parent wished so.
        """
        self._publisher.enter("reading model and dataset")
        device = torch_device(self._row.device)
        model = bundle.load(self._record.bundle(self._row.spec["model"]), device)
        dataset = Dataset.open(self._record.dataset())
        columns = columns_of(self._outputs, model.manifest.code_size, model.facts.shape)
        encoding = _Encoding(model, dataset, self._outputs)
        plan = self._parts.agree(self._plan(model, dataset, sum(column.width for column in columns)))
        torch.set_num_threads(plan.threads)
        self._publisher.enter("encoding")
        self._encode(plan, encoding)
        self._publish(self._write(plan, encoding, columns, dataset), plan)

    def _plan(self, model: TrainedModel, dataset: Dataset, width: int) -> Plan:
        return Plan(
            rows=dataset.manifest.uploaded_rows,
            part_rows=part_rows(self._settings.embed_part_bytes, dataset.facts.features, width),
            width=width,
            threads=thread_count(self._settings.threads),
            weights_sha256=model.manifest.weights_sha256,
            dataset_sha256=dataset.manifest.sha256,
        )

    def _encode(self, plan: Plan, encoding: _Encoding) -> None:
        """Compute what no attempt has computed yet."""
        done = self._parts.done()
        pace = _Pace(sum(stop - start for start, stop in map(plan.bounds, done)), plan.rows)
        self._publisher.advance("rows", **pace.facts())
        for part in range(plan.parts):
            if self._wishes.leave:
                self._publisher.flush()
                raise Left
            if part in done:
                continue
            start, stop = plan.bounds(part)
            self._parts.keep(part, encoding.of(start, stop))
            pace.passed(stop - start)
            self._publisher.advance("rows", **pace.facts())

    def _write(self, plan: Plan, encoding: _Encoding, columns: Sequence[Column], dataset: Dataset) -> Path:
        """The whole file, from the parts in their order."""
        self._publisher.enter("writing the file")
        self._artifacts.check_room(4 * plan.rows * plan.width)
        path = self._scratch / f"embeddings.{self._row.spec['format']}"
        parts = self._read(plan, encoding)
        if self._row.spec["format"] == "npy":
            write_npy(path, parts, plan.rows, columns[0])
        else:
            write_parquet(path, parts, columns, ids=dataset.ids(), metadata=self._metadata(dataset))
        return path

    def _read(self, plan: Plan, encoding: _Encoding) -> Iterator[Float32]:
        for part in range(plan.parts):
            if self._wishes.leave:
                raise Left
            kept = self._parts.read(part, plan)
            yield encoding.of(*plan.bounds(part)) if kept is None else kept

    def _metadata(self, dataset: Dataset) -> dict[str, str]:
        name, _, version = self._row.spec["model"].partition("@")
        return {
            "model": name,
            "version": version,
            "space": self._row.spec["space"],
            "dataset": self._row.dataset_id,
            "dataset_sha256": dataset.manifest.sha256,
        }

    def _publish(self, path: Path, plan: Plan) -> None:
        """The file first, read back and compared; then the row's end; then the parts may go."""
        size = path.stat().st_size
        self._publisher.flush()
        sha256 = keep_file(self._artifacts, path, result_key(self._row.id, self._row.spec["format"]))
        lines, progress, _ = self._publisher.close()
        self._record.complete(
            lines=lines,
            progress=progress,
            metrics={"rows": plan.rows, "bytes": size, "sha256": sha256},
        )
        self._parts.clear()


def result_key(job: str, form: str) -> str:
    """Where a job's file is among the artifacts; the gateway reads it from there."""
    return f"jobs/{job}/embeddings.{form}"


class _Encoding:
    """The rows of a dataset through a model.

    Raises:
        DataRefused: they are not rows of this model.
    """

    def __init__(self, model: TrainedModel, dataset: Dataset, outputs: Sequence[str]) -> None:
        self._model, self._dataset, self._outputs = model, dataset, outputs
        self._order = _order(model.facts, dataset.facts)

    def of(self, start: int, stop: int) -> Float32:
        """What the outputs are for the rows from `start` up to `stop`, beside each other."""
        rows = self._dataset.in_upload_order(start, stop)
        if self._order is not None:
            rows = rows[:, self._order]
        codes = self._model.encode(rows)
        found = [array for output in self._outputs for array in self._output(output, rows, codes)]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def _output(self, output: str, rows: Array, codes: Float32) -> list[Float32]:
        if output == "code":
            return [codes]
        if output == "reconstruction":
            return [self._model.decode(codes).reshape(len(rows), -1)]
        scores = self._model.score(rows, codes=codes)
        return [scores.error[:, None], scores.percentile[:, None]]


class _Pace:
    """How far the work is, and how fast this attempt gets on."""

    def __init__(self, done: int, rows: int) -> None:
        self._done, self._rows = done, rows
        self._began, self._passed = time.monotonic(), 0

    def passed(self, rows: int) -> None:
        """So many more rows are done."""
        self._done += rows
        self._passed += rows

    def facts(self) -> dict[str, Any]:
        """As the job's progress tells it."""
        seconds = time.monotonic() - self._began
        speed = self._passed / seconds if self._passed and seconds > 0 else None
        return {
            "rows": self._done,
            "rows_total": self._rows,
            "rows_per_second": None if speed is None else round(speed, 1),
            "seconds_left": None if speed is None else round((self._rows - self._done) / speed, 1),
        }


def _order(model: Facts, dataset: Facts) -> list[int] | None:
    """Where the model's columns stand in the dataset; None where they stand in the same order, or unnamed."""
    if dataset.features != model.features:
        raise DataRefused(
            f"the dataset's rows have {dataset.features} numbers and the model's have {model.features}"
        )
    if model.columns is None or dataset.columns is None or model.columns == dataset.columns:
        return None
    if set(model.columns) != set(dataset.columns):
        raise DataRefused("the dataset's columns are not those of the model")
    return [dataset.columns.index(name) for name in model.columns]
