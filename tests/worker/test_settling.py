"""Jobs that leave something to be found: settled in the first attempt, and never twice."""

from __future__ import annotations

import json
from typing import Any

from store import EventRow, JobRow, Jobs, JobState, Models
from tests.worker.house import House
from tests.worker.jobs import digits, small
from worker.settling import FILE


def run(house: House, job: JobRow) -> JobRow:
    """The job to its end, by a real child."""
    claimed = house.claim()
    assert claimed.id == job.id
    house.follow(claimed).outcome()
    return house.row(claimed)


def report_of(house: House, job: JobRow) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.store.artifacts.read(f"jobs/{job.id}/report.json"))
    return found


def spec_of(house: House, job: JobRow) -> dict[str, Any]:
    """The spec that the job's model was trained by."""
    with house.store.session() as session:
        model = Models(session).resolve(f"{job.model}@{job.model_version}")
    spec: dict[str, Any] = model.manifest["spec"]
    return spec


def words(events: list[EventRow]) -> list[str]:
    return [event.data["word"] for event in events if event.type == "init"]


def test_a_job_says_how_its_init_was_chosen_and_trains_from_it(house: House) -> None:
    body = {key: value for key, value in small().items() if key != "init"}
    job = house.submit(body, dataset=digits(house))
    # What a crash left half written is settled anew.
    key = f"jobs/{job.id}/checkpoints/{FILE}"
    house.store.artifacts.write(key, b'{"init"')
    row = run(house, job)
    assert row.state is JobState.SUCCEEDED
    found = report_of(house, row)
    chosen = found["auto"]["chosen"]
    raced = [entry for entry in found["auto"]["candidates"] if entry["raced"]]
    assert chosen == min(raced, key=lambda entry: entry["error"])["init"]
    # The race was as long as the job: its figure is the job's.
    assert found["error"] == min(entry["error"] for entry in raced)
    told: list[Any] = [event.data["detail"] for event in house.events(job) if event.type == "init"]
    assert chosen in [detail.get("chosen") for detail in told]
    assert words(house.events(job))[-1] == chosen["name"]
    assert spec_of(house, row)["init"] == chosen
    assert json.loads(house.store.artifacts.read(key))["init"] == chosen
    # What was asked for stays what it was: a body to submit again.
    assert row.spec == body


def test_what_an_earlier_attempt_settled_is_not_settled_again(house: House) -> None:
    job = house.submit({**small(), "init": "auto"}, dataset=digits(house))
    kept: dict[str, Any] = {
        "init": {"name": "identity"},
        "learning_rate": 0.002,
        "evidence": {"auto": {"chosen": {"name": "identity"}}, "learning_rate": None},
        "seconds": 1.0,
    }
    house.store.artifacts.write(f"jobs/{job.id}/checkpoints/{FILE}", json.dumps(kept).encode())
    row = run(house, job)
    assert row.state is JobState.SUCCEEDED
    assert words(house.events(job)) == ["identity"]
    assert report_of(house, row)["auto"] == kept["evidence"]["auto"]
    spec = spec_of(house, row)
    assert (spec["init"]["name"], spec["optimizer"]["learning_rate"]) == ("identity", 0.002)


def test_a_studys_job_finds_its_rate(house: House) -> None:
    place = {"cell": 0, "seed": 0, "rung": 0, "learning_rate": "range_test"}
    job = house.submit(small(), dataset=digits(house))
    with house.store.transaction() as session:
        Jobs(session).get(job.id).study_place = place
    row = run(house, job)
    assert row.state is JobState.SUCCEEDED
    found = report_of(house, row)["learning_rate"]
    assert found["rule"] == "range_test"
    assert spec_of(house, row)["optimizer"]["learning_rate"] == found["chosen"]
    assert words(house.events(job))[0] == "learning_rate"


def test_choosing_counts_in_a_budget_of_seconds(house: House) -> None:
    job = house.submit({**small(), "init": "auto", "training": {"epochs": 100_000}}, dataset=digits(house))
    kept: dict[str, Any] = {
        "init": {"name": "identity"},
        "learning_rate": 0.002,
        "evidence": {"auto": {"chosen": {"name": "identity"}}, "learning_rate": None},
        "seconds": 1e6,
    }
    house.store.artifacts.write(f"jobs/{job.id}/checkpoints/{FILE}", json.dumps(kept).encode())
    with house.store.transaction() as session:
        Jobs(session).get(job.id).study_place = {"cell": 0, "seed": 0, "rung": 0, "budget_seconds": 1e6}
    row = run(house, job)
    assert row.state is JobState.SUCCEEDED
    assert row.progress["epoch"] <= 1, "nothing was left of the budget"
