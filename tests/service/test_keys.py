from __future__ import annotations

from tests.service.conftest import Door, admin


def test_a_key_is_shown_once(guarded: Door) -> None:
    made = guarded.post("/v1/keys", json={"name": "n", "scopes": ["read"]}, headers=admin())
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    key, identity = made.json()["key"], made.json()["id"]
    assert made.headers["location"] == f"/v1/keys/{identity}"
    assert guarded.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    for path in ("/v1/keys", f"/v1/keys/{identity}"):
        assert key not in guarded.get(path, headers=admin()).text


def test_keys_are_listed_a_page_at_a_time(guarded: Door) -> None:
    names = [f"key {number}" for number in range(3)]
    for name in names:
        guarded.post("/v1/keys", json={"name": name, "scopes": ["infer"]}, headers=admin())
    first = guarded.get("/v1/keys?limit=2", headers=admin()).json()
    second = guarded.get(f"/v1/keys?limit=2&after={first['next']}", headers=admin()).json()
    assert [item["name"] for item in first["items"] + second["items"]] == names[::-1]
    assert second["next"] is None


def test_a_repeated_issue_makes_one_key_and_keeps_no_secret(guarded: Door) -> None:
    headers = {**admin(), "Idempotency-Key": "again"}
    body = {"name": "n", "scopes": ["read"]}
    first = guarded.post("/v1/keys", json=body, headers=headers)
    again = guarded.post("/v1/keys", json=body, headers=headers)
    assert first.json()["key"]
    assert again.status_code == 201
    assert again.json()["id"] == first.json()["id"]
    assert not again.json().get("key")
    assert len(guarded.get("/v1/keys", headers=admin()).json()["items"]) == 1
    other = guarded.post("/v1/keys", json={**body, "name": "other"}, headers=headers)
    assert other.status_code == 409


def test_an_unknown_key_cannot_be_revoked(guarded: Door) -> None:
    assert guarded.delete("/v1/keys/key_none", headers=admin()).status_code == 404
