"""Events on their way into rows, with a clock that the test turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from autoencoders.events import Diagnosed, Epoch, Finished, Initialised, Step
from store import Fenced, JobRow, Unavailable
from store.jobs import Jobs
from tests.worker.house import House, until
from worker.publish import Line, Publisher


class Sink:
    """Keeps what was written; can be away, or fenced."""

    def __init__(self) -> None:
        self.writes: list[list[Line]] = []
        self.progress: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self.problem: Exception | None = None
        self.refused = 0

    def __call__(
        self, lines: list[Line], progress: dict[str, Any] | None, metrics: dict[str, Any] | None
    ) -> None:
        if self.problem is not None:
            self.refused += 1
            raise self.problem
        self.writes.append(list(lines))
        self.progress.update(progress or {})
        self.metrics.update(metrics or {})

    @property
    def lines(self) -> list[Line]:
        return [line for write in self.writes for line in write]


def step(number: int) -> Step:
    return Step(
        epoch=0, step=number, steps=10, loss=1.0, learning_rate=0.1, rows_per_second=5.0, seconds_left=2.0
    )


def epoch(number: int, error: float, *, best: bool) -> Epoch:
    return Epoch(
        epoch=number,
        epochs=9,
        step=10 * number,
        train_loss=0.5,
        loss=2 * error,
        error=error,
        best=best,
        learning_rate=0.1,
        seconds=1.0,
        rows_per_second=7.0,
    )


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def publisher(sink: Sink) -> Iterator[Publisher]:
    publisher = Publisher(sink, interval_seconds=0.2, silence_seconds=0.4)
    yield publisher
    publisher.close()


def test_the_first_line_goes_at_once_and_those_after_it_wait_together(sink: Sink) -> None:
    publisher = Publisher(sink, interval_seconds=3600.0, silence_seconds=7200.0)
    publisher.start()
    publisher.say("log", {"message": "first"})
    until(lambda: sink.writes)
    publisher.say("log", {"message": "second"})
    publisher.say("log", {"message": "third"})
    lines, _, _ = publisher.close()
    assert [data["message"] for _, data in sink.lines] == ["first"]
    assert [data["message"] for _, data in lines] == ["second", "third"]


def test_steps_that_were_not_written_give_way_and_nothing_else_does(publisher: Publisher, sink: Sink) -> None:
    publisher.put(step(1))
    publisher.put(step(2))
    publisher.put(epoch(1, 4.0, best=True))
    publisher.put(step(3))
    publisher.put(Diagnosed(diagnosis={"rows": 5}))
    publisher.put(step(4))
    publisher.flush()
    kept = [(kind, data.get("step")) for kind, data in sink.lines]
    assert kept == [("step", 2), ("epoch", 10), ("step", 3), ("diagnosis", None), ("step", 4)]
    assert sink.progress["step"] == 4
    assert sink.progress["seconds_left"] == 2.0


def test_the_figures_of_a_job_are_those_of_its_best_epoch(publisher: Publisher, sink: Sink) -> None:
    publisher.put(epoch(1, 4.0, best=True))
    publisher.put(epoch(2, 3.0, best=True))
    publisher.put(epoch(3, 9.0, best=False))
    publisher.flush()
    assert sink.metrics == {"train_loss": 0.5, "error": 3.0, "loss": 6.0}
    assert sink.progress["epoch"] == 3


def test_a_resumed_job_keeps_the_best_of_its_earlier_attempts(sink: Sink) -> None:
    publisher = Publisher(sink, metrics={"error": 1.0, "loss": 2.0})
    publisher.put(epoch(3, 9.0, best=False))
    publisher.flush()
    assert sink.metrics["error"] == 1.0


def test_silence_is_broken_by_a_line_that_says_what_goes_on(publisher: Publisher, sink: Sink) -> None:
    publisher.start()
    publisher.enter("reading the dataset")
    until(lambda: len(sink.lines) >= 3)
    assert {data["phase"] for _, data in sink.lines} == {"reading the dataset"}


def test_lines_wait_in_order_while_the_database_is_away(publisher: Publisher, sink: Sink) -> None:
    sink.problem = Unavailable("gone")
    publisher.start()
    publisher.put(epoch(1, 4.0, best=True))
    until(lambda: sink.refused)
    publisher.put(epoch(2, 3.0, best=True))
    sink.problem = None
    until(lambda: len(sink.lines) >= 2)
    assert [data["epoch"] for kind, data in sink.lines if kind == "epoch"] == [1, 2]


def test_the_loop_learns_at_its_next_event_that_it_is_fenced(publisher: Publisher, sink: Sink) -> None:
    sink.problem = Fenced("job", 1)
    publisher.start()
    publisher.put(step(1))
    until(lambda: sink.refused)

    def refused() -> bool:
        try:
            publisher.put(step(2))
        except Fenced:
            return True
        return False

    assert until(refused)


def test_an_ended_training_says_so_in_words(publisher: Publisher, sink: Sink) -> None:
    publisher.put(Finished(ended="stopped", epoch=2, step=20, error=1.0, loss=2.0, seconds=3.0))
    publisher.flush()
    ((kind, data),) = sink.lines
    assert kind == "log"
    assert "stopped" in data["message"]


def test_writes_keep_their_order_whoever_flushes(publisher: Publisher, sink: Sink) -> None:
    publisher.start()

    def put() -> None:
        for number in range(200):
            publisher.put(Initialised(word="normal", part="encoder", seconds=float(number)))
            if number % 10 == 0:
                publisher.flush()

    thread = threading.Thread(target=put)
    thread.start()
    thread.join()
    publisher.flush()
    seconds = [data["seconds"] for kind, data in sink.lines if kind == "init"]
    assert seconds == sorted(seconds)
    assert len(seconds) == 200


def test_rows_show_what_was_published_and_a_fenced_one_writes_nothing(house: House) -> None:
    house.submit()
    job: JobRow = house.claim()

    def write(lines: list[Line], progress: dict[str, Any] | None, metrics: dict[str, Any] | None) -> None:
        with house.store.transaction() as session:
            Jobs(session).record(job.id, job.token, progress=progress, metrics=metrics, events=lines)

    publisher = Publisher(write)
    publisher.put(epoch(1, 4.0, best=True))
    publisher.flush()
    assert house.row(job).progress["epoch"] == 1
    with house.store.transaction() as session:
        Jobs(session).give_back(job.id, job.token)
    before = house.row(job).events
    publisher.put(step(11))
    with pytest.raises(Fenced):
        publisher.flush()
    assert house.row(job).events == before
