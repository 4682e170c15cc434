"""The series of several processes, added up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.siblings import Siblings
from service.tallies import Spreads

BOUNDS = (1.0, 10.0)


def process(folder: Path | None, pid: int, *, refused: int, held: int, rows: tuple[float, ...]) -> Siblings:
    """A process that has counted this much."""
    registry = CollectorRegistry()
    counter = Counter("refused", "Refused.", ["why"], registry=registry)
    counter.labels('a "load"').inc(refused)
    Gauge("held", "Held.", registry=registry).set(held)
    spread = Spreads("rows", "Rows.", [], BOUNDS, registry).labels()
    for each in rows:
        spread.observe(each)
    return Siblings(lambda: generate_latest(registry), folder, pid)


def values(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_counts_and_what_living_processes_hold_are_added_up(tmp_path: Path, dead: int) -> None:
    processes = [
        process(tmp_path, os.getpid(), refused=1, held=1, rows=(0.5,)),
        process(tmp_path, os.getppid(), refused=2, held=10, rows=(0.5, 5.0)),
        process(tmp_path, dead, refused=4, held=100, rows=(50.0,)),
    ]
    for each in processes:
        each.write()
    expected = {
        ("refused_total", 'a "load"'): 7.0,
        ("held",): 11.0,
        ("rows_bucket", "1.0"): 2.0,
        ("rows_bucket", "10.0"): 3.0,
        ("rows_bucket", "+Inf"): 4.0,
        ("rows_count",): 4.0,
        ("rows_sum",): 56.0,
    }
    assert values(processes[0].render()) == values(processes[1].render()) == expected


def test_a_process_s_own_series_are_those_of_now(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    counter = Counter("refused", "Refused.", registry=registry)
    one = Siblings(lambda: generate_latest(registry), tmp_path, os.getpid())
    process(tmp_path, os.getppid(), refused=1, held=1, rows=()).write()
    one.write()
    counter.inc(5)
    assert values(one.render())[("refused_total",)] == 5


def test_alone_there_is_nothing_to_add_up_and_nothing_to_write() -> None:
    alone = process(None, os.getpid(), refused=1, held=1, rows=())
    alone.write()
    assert values(alone.render())[("held",)] == 1
