"""Embed jobs: the real child on a real dataset, killed wherever it hurts, and the file that it makes."""

from __future__ import annotations

import contextlib
import io
import shutil
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autoencoders.data import Dataset, write_rows
from store import Conflict, Datasets, IllegalMove, JobRow, JobState, Models, Store, migrate
from tests.worker.embedding import (
    NAMES,
    ROWS,
    embed,
    keep_dataset,
    keep_model,
    keep_table,
    killed,
    numbers,
    result,
    table,
)
from tests.worker.house import House, child_of, until
from worker import exits
from worker.attempt import Attempt
from worker.embeddings import columns_of, write_parquet
from worker.holding import Holding
from worker.publish import Publisher
from worker.record import Record
from worker.run import Wishes
from worker.settings import WorkerSettings

#: Six parts of 500 rows, or seven where a part is a little smaller.
PART_BYTES = 490 * len(NAMES) * 4
WIDTH = 512


@pytest.fixture
def settings(settings: WorkerSettings) -> WorkerSettings:
    return settings.model_copy(update={"embed_part_bytes": PART_BYTES})


def attempt(house: House, job: JobRow, *, leave: bool = False) -> int:
    """One attempt in this process; its exit status."""
    record = Record(house.store, job, patience_seconds=5)
    publisher = Publisher(record.write)
    publisher.start()
    wishes = Wishes()
    wishes.leave = leave
    scratch = house.settings.home / "tmp" / "attempt"
    scratch.mkdir(parents=True)
    try:
        return Attempt(
            Holding(
                artifacts=house.store.artifacts,
                settings=house.settings,
                row=job,
                record=record,
                publisher=publisher,
                wishes=wishes,
                scratch=scratch,
            )
        ).run()
    finally:
        publisher.close()
        shutil.rmtree(scratch)


def finished(house: House, job: JobRow) -> JobRow:
    assert attempt(house, job) == exits.FINISHED
    row = house.row(job)
    assert row.state is JobState.SUCCEEDED, row.problem
    return row


def vectors(column: pa.ChunkedArray) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(column.to_pylist(), np.float32)


def test_each_row_has_its_ids_and_its_code(house: House) -> None:
    rows = table()
    dataset = keep_table(house, rows)
    model = keep_model(house, dataset)
    job = embed(house, dataset)
    row = finished(house, job)
    found = pq.read_table(result(house, job))
    assert found.schema.names == ["name", "order", "day", "code"]
    for name in ("name", "order", "day"):
        assert found[name].combine_chunks().equals(rows[name].combine_chunks()), name
    assert found.schema.field("code").type.list_size == 3
    codes = vectors(found["code"])
    np.testing.assert_allclose(codes, model.encode(numbers(rows)), rtol=1e-5, atol=1e-6)
    told = {key.decode(): value.decode() for key, value in found.schema.metadata.items()}
    assert (told["model"], told["version"], told["space"]) == ("table-code", "1", "sp_1")
    assert row.metrics["rows"] == row.progress["rows"] == row.progress["rows_total"] == ROWS
    assert row.metrics["bytes"] == result(house, job).stat().st_size
    assert (row.model, row.model_version) == ("table-code", 1)
    assert not house.store.artifacts.list(f"jobs/{job.id}/checkpoints"), "the parts are gone"
    steps = [event.data["rows"] for event in house.events(job, "rows")]
    assert steps == sorted(steps)
    assert steps[-1] == ROWS


def test_npy_holds_the_codes_in_the_order_of_the_upload(house: House) -> None:
    rows = table()
    dataset = keep_table(house, rows)
    model = keep_model(house, dataset)
    job = embed(house, dataset, format="npy")
    finished(house, job)
    codes = np.load(result(house, job))
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes, model.encode(numbers(rows)), rtol=1e-5, atol=1e-6)


def test_scores_and_reconstructions_stand_beside_the_codes(house: House) -> None:
    rows = table()
    dataset = keep_table(house, rows)
    model = keep_model(house, dataset)
    job = embed(house, dataset, outputs=["score", "code", "reconstruction"])
    finished(house, job)
    found = pq.read_table(result(house, job))
    assert found.schema.names[3:] == ["score", "percentile", "code", "reconstruction"]
    scores = model.score(numbers(rows))
    np.testing.assert_allclose(found["score"].to_numpy(), scores.error, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        found["percentile"].to_numpy(), scores.percentile, atol=0.5
    )  # 300 rows are held out
    again = model.reconstruct(numbers(rows))
    np.testing.assert_allclose(vectors(found["reconstruction"]), again, rtol=1e-4, atol=1e-5)


def test_columns_in_another_order_are_put_right(house: House) -> None:
    model = keep_model(house, keep_table(house, table()))
    rows = table().select(["order", *reversed(NAMES)])
    job = embed(house, keep_table(house, rows))
    finished(house, job)
    codes = vectors(pq.read_table(result(house, job))["code"])
    np.testing.assert_allclose(codes, model.encode(numbers(rows)), rtol=1e-5, atol=1e-6)


def test_an_id_column_keeps_its_name(tmp_path: Path) -> None:
    ids = pa.table({"code": ["a", "b"]})
    columns = columns_of(["code"], 2, (6,))
    values = np.arange(4, dtype=np.float32).reshape(2, 2)
    write_parquet(tmp_path / "file", iter([values]), columns, ids=ids, metadata={})
    assert pq.read_table(tmp_path / "file").to_pydict() == {"code": ["a", "b"], "_code": [[0, 1], [2, 3]]}


def test_a_killed_job_ends_with_the_very_bytes_of_an_undisturbed_one(house: House) -> None:
    dataset = keep_table(house, table())
    keep_model(house, dataset)
    undisturbed = embed(house, dataset)
    finished(house, undisturbed)
    job = embed(house, dataset)
    assert house.watch(killed("00000002.npy", "before")).follow(job) == "lost"
    kept = house.store.artifacts.list(f"jobs/{job.id}/checkpoints")
    assert kept == ["00000000.npy", "00000001.npy", "plan.json"]
    part = house.store.artifacts.local_copy(f"jobs/{job.id}/checkpoints/00000001.npy")
    before = part.stat().st_mtime_ns
    # The plan settles how rows are cut and by how many threads, whatever the next worker would choose.
    job = house.claim()
    another = house.watch(killed("embeddings.parquet", "after"), threads=2, embed_part_bytes=2 * PART_BYTES)
    assert another.follow(job) == "lost"
    assert part.stat().st_mtime_ns == before, "what was kept is not computed again"
    job = house.claim()
    assert house.watch(threads=2).follow(job) == "succeeded"
    assert house.row(job).attempts == 3
    assert result(house, job).read_bytes() == result(house, undisturbed).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "npy"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("plan.json", "before"), ("plan.json", "after")),
        (("00000000.npy", "before"), ("00000000.npy", "after")),
        (("00000003.npy", "after"), ("00000006.npy", "before")),
        (("00000006.npy", "after"), ("embeddings.{form}", "before")),
    ],
)
def test_a_kill_anywhere_changes_nothing(
    house: House, form: str, first: tuple[str, str], second: tuple[str, str]
) -> None:
    dataset = keep_table(house, table())
    keep_model(house, dataset)
    undisturbed = embed(house, dataset, format=form)
    finished(house, undisturbed)
    job = embed(house, dataset, format=form)
    for at, when in (first, second):
        assert house.watch(killed(at.format(form=form), when)).follow(job) == "lost"
        job = house.claim()
    assert house.watch().follow(job) == "succeeded"
    assert result(house, job).read_bytes() == result(house, undisturbed).read_bytes()


def test_files_in_an_object_store_are_the_same(house: House, tmp_path: Path) -> None:
    dataset = keep_table(house, table())
    keep_model(house, dataset)
    job = embed(house, dataset)
    finished(house, job)
    url = f"memory://{uuid.uuid4().hex}/prefix"
    elsewhere = house.settings.model_copy(update={"home": tmp_path / "elsewhere", "artifacts_url": url})
    migrate(elsewhere)
    with contextlib.closing(Store.open(elsewhere)) as store:
        other = House(store, elsewhere)
        dataset = keep_table(other, table())
        keep_model(other, dataset)
        there = embed(other, dataset)
        assert attempt(other, there, leave=True) == exits.LEFT
        finished(other, there)
        assert rows_of(result(other, there)).equals(rows_of(result(house, job)))


def rows_of(path: Path) -> pa.Table:
    return pq.read_table(path).replace_schema_metadata()


def test_a_damaged_part_is_computed_again(house: House) -> None:
    dataset = keep_table(house, table())
    keep_model(house, dataset)
    undisturbed, job = embed(house, dataset), embed(house, dataset)
    finished(house, undisturbed)
    assert attempt(house, job, leave=True) == exits.LEFT
    other = io.BytesIO()
    np.save(other, np.zeros((489, 3), np.float32))
    for number, damaged in enumerate((b"no array", b"", other.getvalue())):
        house.store.artifacts.write(f"jobs/{job.id}/checkpoints/{number:08d}.npy", damaged)
    finished(house, job)
    assert result(house, job).read_bytes() == result(house, undisturbed).read_bytes()


def test_a_job_whose_model_went_says_so_and_one_of_strange_rows_too(house: House) -> None:
    dataset = keep_table(house, table())
    keep_model(house, dataset)
    narrow = keep_table(house, table().select(["order", *NAMES[:4]]))
    job = embed(house, narrow)
    assert attempt(house, job) == exits.FINISHED
    problem = house.row(job).problem
    assert problem is not None
    assert "4 numbers and the model's have 6" in problem["detail"]
    with house.store.transaction() as session:
        Models(session).remove("table-code")
    with pytest.raises(Conflict, match="its model table-code@1 was removed"):
        house.resume(job)


def test_model_and_dataset_are_held_while_the_job_is_not_over_and_it_cannot_be_stopped(house: House) -> None:
    dataset = keep_table(house, table())
    keep_model(house, dataset)
    job = embed(house, dataset)
    needed = f"{job.id}, which is not over, needs table-code@1"
    with pytest.raises(Conflict, match=needed), house.store.transaction() as session:
        Models(session).remove("table-code", 1)
    with pytest.raises(Conflict, match="needs the dataset"), house.store.transaction() as session:
        Datasets(session).remove(dataset)
    with pytest.raises(IllegalMove, match="cancel it"):
        house.stop(job)
    finished(house, job)
    with house.store.transaction() as session:
        Models(session).remove("table-code", 1)
        Datasets(session).remove(dataset)


def test_memory_does_not_grow_with_the_dataset(house: House) -> None:
    folder = house.settings.home / "tmp" / "wide"
    manifest = write_rows(np.random.default_rng(1).normal(size=(200, WIDTH)).astype(np.float32), folder)
    wide = keep_dataset(house, folder, manifest)
    keep_model(house, wide)
    rows = 80_000
    job = embed(house, sparse(house, wide, rows), rows=rows)
    first, peak = anonymous_memory(house, job)
    grown, data = peak - first, rows * WIDTH * 4
    assert grown < data / 2, f"{grown / 1e6:.0f} MB more for {data / 1e6:.0f} MB of rows"


def sparse(house: House, like: str, rows: int) -> str:
    """So many rows of zeros that take no room on the disk, as a dataset like another one; its id."""
    folder = house.settings.home / "tmp" / "sparse"
    shutil.copytree(house.store.artifacts.local_copy(f"datasets/{like}"), folder)
    before = Dataset.open(folder).manifest
    (folder / "rows.npy").unlink()
    np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (rows, WIDTH)).flush()
    np.save(folder / "row_numbers.npy", np.arange(rows))
    held_out = rows // 10
    counts = {"rows": rows, "training_rows": rows - held_out, "held_out_rows": held_out}
    manifest = before.model_copy(update={**counts, "bytes": rows * WIDTH * 4})
    (folder / "dataset.json").write_text(manifest.model_dump_json())
    return keep_dataset(house, folder, manifest)


def anonymous_memory(house: House, job: JobRow) -> tuple[int, int]:
    """The anonymous memory of the job's child once its first part is kept, and the most that it ever had."""
    following = house.follow(job, embed_part_bytes=4 * 2**20)
    child = until(lambda: child_of(job))
    first = peak = 0
    while size := anonymous_bytes(child.pid):
        peak = max(peak, size)
        if not first and house.store.artifacts.exists(f"jobs/{job.id}/checkpoints/00000000.npy"):
            first = size
        time.sleep(0.005)
    assert following.outcome() == "succeeded", house.row(job).problem
    assert first
    return first, peak


def anonymous_bytes(process: int) -> int:
    """What a process has in memory that is no file's; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
