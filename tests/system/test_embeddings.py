"""A dataset encoded by a job over real HTTP, from its submission to its file."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.system.house import House

pytestmark = pytest.mark.system


def test_a_dataset_is_encoded_by_a_job(house: House) -> None:
    table = "\n".join(["who,a,b,c", *(f"p{n},{n % 7},{n % 5},{n % 3}" for n in range(60))])
    sent = house.client.post(
        "/v1/datasets?name=people&id=who", content=table, headers={"content-type": "text/csv"}
    )
    assert sent.status_code == 201, sent.text
    assert (
        house.finished(house.submit(dataset="people", code=2, training={"epochs": 1}))["state"] == "succeeded"
    )
    said = house.client.post("/v1/models/people/embeddings", json={"dataset": "people"})
    assert said.status_code == 202, said.text
    job = said.json()["id"]
    progress = [event.data for event in house.events(job) if event.kind == "rows"]
    assert progress[-1]["rows"] == progress[-1]["rows_total"] == 60
    done = house.finished(job)
    assert done["state"] == "succeeded", done
    found = pq.read_table(io.BytesIO(house.client.get(done["links"]["embeddings"]).content))
    assert found["who"].to_pylist() == [f"p{n}" for n in range(60)]
    rows = [[n % 7, n % 5, n % 3] for n in range(60)]
    said = house.client.post("/v1/models/people/encode", json={"inputs": rows})
    assert said.status_code == 200, said.text
    answer = said.json()
    assert found.schema.metadata[b"space"].decode() == answer["model"]["space"]
    np.testing.assert_allclose(found["code"].to_pylist(), answer["codes"], rtol=1e-4, atol=1e-5)
