from __future__ import annotations

import pytest

from store import Conflict, Idempotency, Store, Stored
from store.errors import BadName

ROUTE, BODY = "POST /v1/jobs", "ab" * 32


def _begin(
    store: Store, key: str = "k", caller: str | None = "c", body: str = BODY, route: str = ROUTE
) -> Stored | None:
    with store.transaction() as session:
        return Idempotency(session).begin(key, caller, route, body)


def test_the_first_answer_is_given_again(store: Store) -> None:
    assert _begin(store) is None
    with store.transaction() as session:
        Idempotency(session).complete("k", "c", 202, {"Location": "/v1/jobs/1"}, b'{"id":1}\x00')
    assert _begin(store) == Stored(202, {"Location": "/v1/jobs/1"}, b'{"id":1}\x00')


def test_another_request_under_the_same_key_is_a_conflict(store: Store) -> None:
    _begin(store)
    for change in ({"body": "cd" * 32}, {"route": "POST /v1/studies"}):
        with pytest.raises(Conflict, match="another request"):
            _begin(store, **change)


def test_a_request_that_is_being_answered_is_a_conflict_until_it_is_abandoned(store: Store) -> None:
    _begin(store)
    with pytest.raises(Conflict, match="still being answered"):
        _begin(store)
    with store.transaction() as session:
        Idempotency(session).abandon("k", "c")
    assert _begin(store) is None


def test_a_request_whose_gateway_died_is_done_again(store: Store) -> None:
    _begin(store)
    with store.transaction() as session:
        assert Idempotency(session).begin("k", "c", ROUTE, BODY, in_flight_seconds=-1) is None
    with pytest.raises(Conflict):
        _begin(store)


def test_an_answer_is_not_abandoned(store: Store) -> None:
    _begin(store)
    with store.transaction() as session:
        Idempotency(session).complete("k", "c", 201, {}, b"")
        Idempotency(session).abandon("k", "c")
    assert _begin(store) == Stored(201, {}, b"")


def test_callers_do_not_see_each_other(store: Store) -> None:
    for caller in ("a", "b", None):
        assert _begin(store, caller=caller) is None


def test_old_answers_are_forgotten(store: Store) -> None:
    _begin(store)
    with store.transaction() as session:
        assert Idempotency(session).forget(24) == 0
        assert Idempotency(session).forget(-1) == 1
    assert _begin(store) is None


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00", "a\nb"])
def test_a_key_that_is_none_is_refused(key: str, store: Store) -> None:
    with pytest.raises(BadName):
        _begin(store, key)
