from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from service.app import assemble
from service.auth import OPEN_PATHS
from service.errors import SettingsRefused
from service.routes.repository_v2 import NOT_OFFERED
from service.settings import OPEN_WORDS, ServiceSettings
from tests.service.conftest import ADMIN_KEY, Door, Opens, admin, issue

PLACES = {
    "{job}": "job_none",
    "{dataset}": "none",
    "{name}": "none",
    "{alias}": "a",
    "{family}": "inits",
    "{version}": "1",
    "{rest:path}": "status",
}
OTHERS = {"read": "infer", "train": "read", "infer": "train", "admin": "train"}


def _routes() -> list[tuple[str, str, str]]:
    """Every guarded route as (method, path, the scope that it says it needs)."""
    app = assemble(ServiceSettings(_env_file=None))
    described = app.openapi()["paths"]
    found = []
    for route in iter_route_contexts(app.routes):
        assert route.path is not None
        if route.path in OPEN_PATHS:
            continue
        for method in sorted((route.methods or set()) - {"HEAD"}):
            if route.path.removeprefix("/v2") in NOT_OFFERED:
                found.append((method, route.path, "read"))
                continue
            security = described[route.path][method.lower()].get("security")
            assert security, f"{method} {route.path} asks for no key"
            ((scope,),) = (next(iter(item.values())) for item in security)
            found.append((method, route.path, scope))
    return found


ROUTES = _routes()


def _filled(path: str) -> str:
    for part, value in {**PLACES, "{key_id}": "key_none"}.items():
        path = path.replace(part, value)
    return path


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES, ids=[f"{m} {p}" for m, p, _ in ROUTES])
def test_a_route_needs_a_key_and_its_scope(shared: Door, method: str, path: str, scope: str) -> None:
    without = shared.request(method, _filled(path))
    assert without.status_code == 401
    assert without.headers["www-authenticate"].startswith("Bearer")
    protocol = path.startswith("/v2")
    # Whoever may infer may also see what the protocol says of models.
    other = "train" if protocol and scope == "read" else OTHERS[scope]
    wrong = shared.request(method, _filled(path), headers=issue(shared, other))
    assert wrong.status_code == 403, wrong.text
    if protocol:
        assert without.headers["content-type"] == "application/json"
        assert scope in wrong.json()["error"]
    else:
        assert without.headers["content-type"] == "application/problem+json"
        assert wrong.json()["type"].endswith("not-allowed")
    right = shared.request(method, _filled(path), headers=issue(shared, scope))
    assert right.status_code not in (401, 403)
    assert shared.request(method, _filled(path), headers=admin()).status_code not in (401, 403)


@pytest.fixture(scope="module")
def shared(template: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One guarded gateway for all routes: nothing here changes what another test sees."""
    import shutil

    from tests.service.conftest import opened, settings_for

    home = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(template, home)
    with opened(settings_for(home, admin_key=ADMIN_KEY)) as door:
        yield door


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_health_metrics_and_the_interface_are_for_everybody(guarded: Door, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_an_unknown_path_is_not_shown_to_strangers(guarded: Door) -> None:
    assert guarded.get("/v1/nothing").status_code == 401
    assert guarded.get("/v1/nothing", headers=admin()).status_code == 404


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer wrong", "Bearer hg_x_y"])
def test_a_bad_header_is_no_key(guarded: Door, header: str) -> None:
    assert guarded.get("/v1/jobs", headers={"Authorization": header}).status_code == 401


def test_expired_and_revoked_keys_are_refused(guarded: Door) -> None:
    expired = issue(guarded, "admin", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert guarded.get("/v1/jobs", headers=expired).status_code == 401
    key = issue(guarded, "read")
    identity = f"key_{key['Authorization'].split('_')[1]}"
    assert guarded.delete(f"/v1/keys/{identity}", headers=admin()).status_code == 204
    assert guarded.get("/v1/jobs", headers=key).status_code == 401


def test_without_keys_the_local_owner_needs_no_header(door: Door) -> None:
    assert door.get("/v1/jobs").status_code == 200
    assert door.get("/v1/keys").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "hourglass.evil.example:8000", "10.0.0.1"])
def test_without_keys_a_foreign_host_is_refused(door: Door, host: str) -> None:
    answer = door.get("/v1/jobs", headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["type"].endswith("foreign-request")


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_without_keys_a_foreign_page_is_refused(door: Door, origin: str) -> None:
    assert door.post("/v1/jobs", headers={"Origin": origin}, json={}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_this_machines_own_names_and_pages_are_served(door: Door, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert door.get("/v1/jobs", headers=headers).status_code == 200


def test_the_first_key_closes_the_door(door: Door) -> None:
    key = door.post("/v1/keys", json={"name": "first", "scopes": ["admin"]}).json()["key"]
    assert door.get("/v1/jobs").status_code == 401
    assert door.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_revoking_the_last_key_does_not_open_the_door(door: Door) -> None:
    made = door.post("/v1/keys", json={"name": "first", "scopes": ["admin"]}).json()
    header = {"Authorization": f"Bearer {made['key']}"}
    assert door.delete(f"/v1/keys/{made['id']}", headers=header).status_code == 204
    assert door.get("/v1/jobs").status_code == 401


def test_an_address_beyond_loopback_needs_a_key_to_start(opens: Opens) -> None:
    with pytest.raises(SettingsRefused, match="HOURGLASS_HOST"), opens(host="0.0.0.0"):
        pass


def test_an_admin_key_allows_any_address(opens: Opens) -> None:
    with opens(host="0.0.0.0", admin_key=ADMIN_KEY) as door:
        assert door.get("/v1/jobs").status_code == 401
        assert door.get("/v1/jobs", headers={**admin(), "Host": "hourglass.example"}).status_code == 200


def test_an_issued_key_allows_any_address(opens: Opens) -> None:
    with opens() as door:
        key = issue(door, "read")
    with opens(host="0.0.0.0") as door:
        assert door.get("/v1/jobs", headers=key).status_code == 200


def test_said_in_words_anyone_may_use_it(opens: Opens) -> None:
    with opens(host="0.0.0.0", open=OPEN_WORDS) as door:
        assert door.get("/v1/jobs", headers={"Host": "hourglass.example"}).status_code == 200
