"""Thresholds: the false alarms that were asked for, how sure that is, and what every answer then says."""

from __future__ import annotations

import csv
import io
import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from autoencoders.bundle import MAX_SCORES, _quantiles
from service.errors import FieldRefused
from service.serving.codecs import ARROW, CSV, JSON, NPY
from service.serving.thresholds import HeldOut, anomalies, choose
from store import Models
from tests.service.conftest import Door, admin, issue, opened, settings_for

PATH = "/v1/models/digits-code/threshold"
ROWS = np.vstack([np.random.default_rng(0).random((2, 64)), np.full((1, 64), 9.0)]).astype("f4")


def held_out(count: int, seed: int = 0) -> HeldOut:
    scores = np.sort(np.random.default_rng(seed).gamma(2.0, size=count).astype("f4"))
    return HeldOut(_quantiles(scores), count)


@pytest.mark.parametrize(
    ("count", "rate"), [(99, 0.01), (180, 0.05), (1000, 0.01), (999, 0.5), (5000, 0.001)]
)
def test_a_threshold_is_the_order_statistic_of_its_rate(count: int, rate: float) -> None:
    scores = held_out(count)
    chosen = choose(scores, rate)
    rank = math.ceil(round((count + 1) * (1 - rate), 6))
    assert chosen.threshold == scores.kept[rank - 1]
    # Of count + 1 rows that differ in nothing, this one is above it no more often than the rate.
    assert (count + 1 - rank) / (count + 1) <= rate + 1e-12
    low, high = (int(np.searchsorted(scores.kept, bound)) + 1 for bound in chosen.interval)
    assert low <= rank <= high
    # P(S(low) <= q <= S(high)) = P(count - high < B <= count - low), B binomial.
    above = binom(count, rate)
    exact = above.cdf(count - low) - above.cdf(count - high)
    assert chosen.confidence == pytest.approx(exact, abs=1e-12)
    assert chosen.confidence >= 0.95 or high == count
    # It is no wider than it must be.
    if high < count:
        assert above.cdf(count - low - 1) < 0.975
        assert above.cdf(count - high + 1) > 0.025


def test_intervals_hold_the_quantile_as_often_as_they_say() -> None:
    rate, count, quantile = 0.05, 200, -math.log(0.05)
    chance, hits, alarms, confidence = np.random.default_rng(3), 0, 0.0, 0.0
    for _ in range(1500):
        chosen = choose(HeldOut(np.sort(chance.exponential(size=count).astype("f4")), count), rate)
        hits += chosen.interval[0] <= quantile <= chosen.interval[1]
        alarms += math.exp(-chosen.threshold)
        confidence = chosen.confidence
    assert hits / 1500 == pytest.approx(confidence, abs=0.015)
    assert alarms / 1500 == pytest.approx(rate, abs=0.003)


def test_few_rows_support_few_rates() -> None:
    assert choose(held_out(99), 0.01).threshold == held_out(99).kept[-1]
    with pytest.raises(FieldRefused, match="at least 99 held-out rows; the model was judged by 98"):
        choose(held_out(98), 0.01)
    with pytest.raises(FieldRefused, match="at least 9,999 held-out rows"):
        choose(held_out(500), 0.0001)
    with pytest.raises(FieldRefused, match="judged by 0"):
        choose(held_out(0), 0.5)


def test_quantiles_of_many_scores_are_on_the_safe_side() -> None:
    count = 250_000
    scores = np.sort(np.random.default_rng(5).gamma(2.0, size=count).astype("f4"))
    kept = HeldOut(_quantiles(scores), count)
    assert len(kept.kept) == MAX_SCORES
    for rate in (0.5, 0.01, 0.0003, 0.00001):
        chosen, exact = choose(kept, rate), choose(HeldOut(scores, count), rate)
        assert (scores > chosen.threshold).mean() <= rate
        assert chosen.threshold >= exact.threshold
        assert chosen.interval[0] <= exact.interval[0]
        assert chosen.interval[1] >= exact.interval[1]
        assert chosen.confidence == exact.confidence


def test_what_is_at_the_threshold_is_no_anomaly() -> None:
    scores = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], "f4")
    assert anomalies(scores, {"threshold": 1.0}).tolist() == [False, True]


def test_a_threshold_is_set_shown_and_removed(served: Door) -> None:
    assert served.get(PATH).status_code == 404
    assert served.delete(PATH).status_code == 404
    revision = _revision(served)
    answer = served.put(PATH, json={"false_alarm_rate": 0.05})
    assert answer.status_code == 200, answer.text
    view = answer.json()
    assert (view["model"], view["version"], view["held_out_rows"]) == ("digits-code", 2, 180)
    assert view["interval"][0] < view["threshold"] < view["interval"][1]
    assert view["confidence"] >= 0.95
    assert served.get(PATH).json() == view
    assert served.get("/v1/models/digits-code").json()["threshold"] == view["threshold"]
    assert served.get("/v1/models/digits-code@1/threshold").status_code == 404
    assert _revision(served) == revision + 1
    with served.store.session() as session:
        folder = served.store.artifacts.local_copy(Models(session).resolve("digits-code").artifact)
    scores = np.load(folder / "scores.npy")
    assert (scores > view["threshold"]).mean() <= 0.05 < (scores >= view["threshold"]).mean() + 1 / 181
    assert served.delete(PATH).status_code == 204
    assert served.get(PATH).status_code == 404


def _revision(door: Door) -> int:
    with door.store.session() as session:
        return Models(session).resolve("digits-code").revision


def _score(door: Door, wanted: str = JSON, name: str = "digits-code") -> Any:
    answer = door.post(f"/v1/models/{name}/score", json={"inputs": ROWS.tolist()}, headers={"Accept": wanted})
    assert answer.status_code == 200, answer.text
    return answer


def test_scores_say_what_is_an_anomaly_in_every_format_that_can(served: Door) -> None:
    assert "anomaly" not in _score(served).json()
    threshold = served.put(PATH, json={"false_alarm_rate": 0.05}).json()["threshold"]
    document = _score(served).json()
    assert document["anomaly"] == [score > threshold for score in document["scores"]]
    assert document["anomaly"][-1] is True
    table = pa.ipc.open_stream(_score(served, ARROW).content).read_all()
    assert table["anomaly"].to_pylist() == document["anomaly"]
    lines = list(csv.DictReader(io.StringIO(_score(served, CSV).text)))
    assert [line["anomaly"] == "true" for line in lines] == document["anomaly"]
    assert np.load(io.BytesIO(_score(served, NPY).content)).shape == (3,)
    assert "anomaly" not in _score(served, name="digits-code@1").json()
    assert (
        "anomaly" not in served.post("/v1/models/digits-code/encode", json={"inputs": ROWS.tolist()}).json()
    )
    served.delete(PATH)
    assert "anomaly" not in _score(served).json()


def test_the_threshold_is_the_versions_and_goes_where_the_name_goes(served: Door) -> None:
    served.put("/v1/models/digits-code@1/threshold", json={"false_alarm_rate": 0.5})
    assert "anomaly" not in _score(served).json()
    served.post("/v1/models/digits-code/promote", json={"version": 1})
    assert "anomaly" in _score(served).json()
    assert served.get(PATH).json()["version"] == 1


def test_another_gateway_follows_within_a_second(trained: Path) -> None:
    with opened(settings_for(trained)) as one, opened(settings_for(trained)) as other:
        assert "anomaly" not in _score(other).json()
        one.put(PATH, json={"false_alarm_rate": 0.05})
        deadline = time.monotonic() + 5
        while "anomaly" not in _score(other).json():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert other.get(PATH).json() == one.get(PATH).json()


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"false_alarm_rate": 0.001}, "false_alarm_rate"),
        ({"false_alarm_rate": 0}, "false_alarm_rate"),
        ({"false_alarm_rate": 0.6}, "false_alarm_rate"),
        ({"false_alarm_rate": "a"}, "false_alarm_rate"),
        ({}, "false_alarm_rate"),
        ({"false_alarm_rate": 0.05, "threshold": 3}, "threshold"),
    ],
)
def test_a_rate_that_cannot_be_is_refused(serving: Door, body: dict[str, Any], place: str) -> None:
    answer = serving.put(PATH, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == [place]
    if body == {"false_alarm_rate": 0.001}:
        assert "999 held-out rows" in answer.json()["detail"]


def test_damaged_scores_set_no_threshold(served: Door) -> None:
    with served.store.session() as session:
        folder = served.store.artifacts.local_copy(Models(session).resolve("digits-code").artifact)
    np.save(folder / "scores.npy", np.zeros(180, "f4"))
    answer = served.put(PATH, json={"false_alarm_rate": 0.05})
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("model-damaged")


def test_who_may_only_infer_sets_no_threshold(guarded: Door) -> None:
    header = issue(guarded, "infer", "read")
    assert guarded.put(PATH, json={"false_alarm_rate": 0.05}, headers=header).status_code == 403
    assert guarded.delete(PATH, headers=header).status_code == 403
    assert guarded.get(PATH, headers=header).status_code == 404
    assert guarded.put(PATH, json={"false_alarm_rate": 0.05}, headers=admin()).status_code == 404


def test_many_who_set_one_threshold_leave_one(served: Door) -> None:
    statuses: list[int] = []

    def ask(rate: float) -> None:
        statuses.append(served.put(PATH, json={"false_alarm_rate": rate}).status_code)

    threads = [threading.Thread(target=ask, args=(rate,)) for rate in (0.05, 0.1, 0.2, 0.4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4
    assert served.get(PATH).json()["false_alarm_rate"] in (0.05, 0.1, 0.2, 0.4)
