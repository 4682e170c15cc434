from __future__ import annotations

import pytest

from store import Conflict, Datasets, Jobs, JobState, NotFound, Store, ids
from store.errors import BadName
from store.removals import Removals
from tests.store import given


def test_a_dataset_is_found_by_id_and_the_newest_by_name(store: Store) -> None:
    older, newer = given.dataset(store), given.dataset(store, labels={"a": "b"})
    with store.session() as session:
        datasets = Datasets(session)
        assert datasets.get(older.id).id == older.id
        found = datasets.get("digits")
        assert (found.id, found.bytes, found.artifact) == (newer.id, 5_000_000_000, f"datasets/{newer.id}")
        assert [row.id for row in datasets.page(labels={"a": "b"}).items] == [newer.id]
        assert [row.id for row in datasets.page(name="digits").items] == [newer.id, older.id]
        assert datasets.page(name="\x00").items == []


@pytest.mark.parametrize("name", ["nobody", "", "a/b", "\x00", "ds_" + "0" * 26])
def test_what_is_not_there_is_not_found(name: str, store: Store) -> None:
    with store.session() as session, pytest.raises(NotFound):
        Datasets(session).get(name)


@pytest.mark.parametrize("name", ["", "..", "a b", "-x", "x" * 65])
def test_a_name_that_could_not_be_asked_for_is_refused(name: str, store: Store) -> None:
    with pytest.raises(BadName):
        given.dataset(store, name)


def test_the_id_comes_from_the_house(store: Store) -> None:
    with pytest.raises(ValueError, match="no id of a dataset"), store.transaction() as session:
        Datasets(session).create(id="../etc", name="digits", manifest={})


@pytest.mark.parametrize("state", list(JobState))
def test_a_dataset_stays_while_a_job_that_is_not_over_needs_it(state: JobState, store: Store) -> None:
    job = given.in_state(store, state)
    if state.is_over:
        with store.transaction() as session:
            Datasets(session).remove(job.dataset_id)
        with store.session() as session:
            assert Removals(session).waiting() == [f"datasets/{job.dataset_id}"]
            assert Jobs(session).get(job.id).dataset_name == "digits"
    else:
        with pytest.raises(Conflict), store.transaction() as session:
            Datasets(session).remove(job.dataset_id)


def test_a_removal_that_fails_removes_neither_row_nor_files(store: Store) -> None:
    data = given.dataset(store)

    def fail() -> None:
        with store.transaction() as session:
            Datasets(session).remove("digits")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.session() as session:
        assert Datasets(session).get("digits").id == data.id
        assert Removals(session).waiting() == []


def test_an_id_is_not_the_name_of_another(store: Store) -> None:
    sneaky = ids.new("ds")
    given.dataset(store, name=sneaky)
    with store.session() as session:
        assert Datasets(session).get(sneaky).name == sneaky
    honest = given.dataset(store)
    given.dataset(store, name=honest.id)
    with store.session() as session:
        assert Datasets(session).get(honest.id).id == honest.id
