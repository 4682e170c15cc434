"""A table with ids, a model of it, jobs that encode it, and children that are killed at a chosen moment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from autoencoders import Dataset, Experiment, Spec
from autoencoders.bundle import TrainedModel, load
from autoencoders.data import Manifest, ReadOptions, read
from store import Datasets, JobRow, Models, ids
from tests.worker.house import House

Float32 = npt.NDArray[np.float32]
NAMES = [f"n{number}" for number in range(6)]
ROWS = 3000
SMALL = {
    "architecture": {"name": "dense", "widths": [8], "code": 3},
    "init": "he_normal",
    "training": {"epochs": 1, "seed": 7},
}


def table(rows: int = ROWS) -> pa.Table:
    """Rows whose ids are words, numbers and days, so that each type must come through."""
    draws = np.random.default_rng(3)
    numbers = {name: draws.normal(size=rows).astype(np.float32) for name in NAMES}
    return pa.table(
        {
            "name": pa.array([f"row {number}" for number in range(rows)]),
            "order": pa.array(np.arange(rows) * 7 - 5, pa.int64()),
            "day": pa.array(np.arange(rows).astype("datetime64[D]")),
            **numbers,
        }
    )


def keep_dataset(house: House, folder: Path, manifest: Manifest) -> str:
    """The canonical folder among the artifacts, and its row; its id."""
    identity = ids.new("ds")
    house.store.artifacts.put_folder(folder, f"datasets/{identity}", move=True)
    with house.store.transaction() as session:
        document = manifest.model_dump(mode="json")
        Datasets(session).create(id=identity, name="table", manifest=document)
    return identity


def numbers(rows: pa.Table) -> Float32:
    """What of a table is trained on, in the order of the first model's columns."""
    return np.column_stack([rows[name].to_numpy() for name in NAMES])


def keep_table(house: House, rows: pa.Table) -> str:
    """A table with three id columns as a dataset."""
    upload = house.settings.home / "table.parquet"
    pq.write_table(rows, upload)
    folder = house.settings.home / "tmp" / "table"
    roles = {name: "id" for name in ("name", "order", "day") if name in rows.column_names}
    options = ReadOptions.model_validate({"name": "table", "roles": roles})
    return keep_dataset(house, folder, read(upload, destination=folder, options=options))


def keep_model(house: House, dataset: str) -> TrainedModel:
    """A small model of a dataset, registered as `table-code`."""
    rows = Dataset.open(house.store.artifacts.local_copy(f"datasets/{dataset}"))
    experiment = Experiment(Spec.model_validate(SMALL), rows, threads=1)
    for _ in experiment.run():
        pass
    folder = house.settings.home / "tmp" / "model"
    manifest = experiment.save(folder).model_dump(mode="json")
    job = ids.new("job")
    house.store.artifacts.put_folder(folder, f"models/{job}", move=True)
    with house.store.transaction() as session:
        Models(session).register(name="table-code", job_id=job, dataset_id=dataset, manifest=manifest)
    return load(house.store.artifacts.local_copy(f"models/{job}"))


def embed(house: House, dataset: str, *, rows: int = ROWS, **spec: Any) -> JobRow:
    """A claimed job that encodes a dataset."""
    document = {"format": "parquet", "outputs": ["code"], "model": "table-code@1", "space": "sp_1", **spec}
    house.submit(
        document, dataset=dataset, kind="embed", model="table-code", model_version=1, rows=rows, labels={}
    )
    return house.claim()


def result(house: House, job: JobRow) -> Path:
    """The job's file."""
    return house.store.artifacts.local_copy(f"jobs/{job.id}/embeddings.{job.spec['format']}")


def killed(at: str, when: str) -> Callable[[JobRow], list[str]]:
    """The real child, killed with signal 9 just before or after a file of this name is in its place."""
    code = f"""
import os, signal, sys
real = os.replace
def replace(source, target):
    hit = str(target).endswith({at!r})
    if hit and {when!r} == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
    if hit:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
from worker.run import main
os._exit(main(sys.argv[1:]))
"""
    return lambda job: [sys.executable, "-P", "-c", code, job.id, str(job.token)]
