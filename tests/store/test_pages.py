from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import settings as how
from hypothesis import strategies as st

from store import BadCursor, Datasets, Jobs, Keys, Models, Store, ids, migrate
from tests.store import given
from tests.store.conftest import settings_for


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Store, list[str]]]:
    """A store with some jobs, shared since only reading happens: Hypothesis asks many times."""
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(Path(folder))
        migrate(settings)
        store = Store.open(settings)
        data = given.dataset(store)
        jobs = [given.job(store, data, labels={"even": str(n % 2 == 0)}).id for n in range(37)]
        yield store, jobs
        store.close()


@how(deadline=None, max_examples=60)
@for_all(limit=st.integers(1, 50), only_even=st.booleans())
def test_pages_visit_every_row_exactly_once_newest_first(
    filled: tuple[Store, list[str]], limit: int, only_even: bool
) -> None:
    store, made = filled
    wanted = [job for n, job in enumerate(made) if n % 2 == 0 or not only_even][::-1]
    labels = {"even": "True"} if only_even else {}
    seen: list[str] = []
    after = None
    with store.session() as session:
        while True:
            page = Jobs(session).page(limit=limit, after=after, labels=labels)
            assert len(page.items) <= limit
            seen += [job.id for job in page.items]
            after = page.next
            if after is None:
                break
            assert len(page.items) == limit
    assert seen == wanted


@how(deadline=None, max_examples=200)
@for_all(
    cursor=st.text(max_size=60)
    | st.binary(max_size=45).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_a_cursor_that_no_page_gave_is_refused(filled: tuple[Store, list[str]], cursor: str) -> None:
    store, _ = filled
    with store.session() as session, pytest.raises(BadCursor):
        Jobs(session).page(after=cursor)


def test_a_row_added_meanwhile_moves_no_page(store: Store) -> None:
    data = given.dataset(store)
    made = [given.job(store, data).id for _ in range(4)]
    with store.session() as session:
        first = Jobs(session).page(limit=2)
    given.job(store, data)
    with store.session() as session:
        second = Jobs(session).page(limit=2, after=first.next)
    assert [job.id for job in (*first.items, *second.items)] == made[::-1]
    assert second.next is None


def test_a_cursor_survives_the_removal_of_its_row(store: Store) -> None:
    made = [given.dataset(store).id for _ in range(3)]
    with store.transaction() as session:
        datasets = Datasets(session)
        page = datasets.page(limit=1)
        datasets.remove(page.items[0].id)
    with store.session() as session:
        assert [row.id for row in Datasets(session).page(after=page.next).items] == made[1::-1]


def test_every_list_has_an_end_and_bounds_what_is_asked(store: Store) -> None:
    given.dataset(store)
    with store.transaction() as session:
        Keys(session).issue(name="one", scopes=["read"])
        Models(session).register(name="faces", job_id=ids.new("job"), dataset_id=None, manifest={})
        for repository in (Datasets(session), Keys(session), Models(session), Jobs(session)):
            for limit in (0, 1, 10**9):
                page = repository.page(limit=limit)
                assert page.next is None
                assert len(page.items) == (0 if isinstance(repository, Jobs) else 1)
