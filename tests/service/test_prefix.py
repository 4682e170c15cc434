"""Behind a proxy that offers the gateway under a prefix."""

from __future__ import annotations

import pytest

from tests.service.conftest import Opens


@pytest.mark.parametrize("sent_on", [False, True], ids=["cut off by the proxy", "sent on"])
def test_where_a_new_thing_lies_is_said_as_the_client_reaches_it(sent_on: bool, opens: Opens) -> None:
    with opens(root_path="/hourglass") as door:
        before = "/hourglass" if sent_on else ""
        made = door.post(f"{before}/v1/jobs", json={"dataset": "digits", "code": 2})
        assert made.status_code == 202, made.text
        assert made.headers["location"] == f"/hourglass/v1/jobs/{made.json()['id']}"
        assert door.get(f"{before}/v1/jobs/{made.json()['id']}").status_code == 200
