from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from store import ModelRow, Models, NotFound, Store, ids
from store.errors import BadName
from store.models import Promote
from store.removals import Removals


def _register(
    store: Store,
    name: str = "faces",
    *,
    promote: Promote = "always",
    error: float | None = None,
    **labels: str,
) -> ModelRow:
    with store.transaction() as session:
        return Models(session).register(
            name=name,
            job_id=ids.new("job"),
            dataset_id=ids.new("ds"),
            manifest={"weights_sha256": "ab" * 32},
            labels=labels,
            promote=promote,
            error=error,
        )


def _means(store: Store, reference: str) -> int:
    with store.session() as session:
        return Models(session).resolve(reference).version


def test_versions_count_up_within_a_name(store: Store) -> None:
    first, second, other = _register(store), _register(store), _register(store, "digits")
    assert [first.version, second.version, other.version] == [1, 2, 1]
    assert first.weights_sha256 == "ab" * 32
    assert first.artifact == f"models/{first.job_id}"
    with store.session() as session:
        assert [row.version for row in Models(session).versions("faces")] == [2, 1]
        page = Models(session).version_page("faces", limit=1)
        assert [row.version for row in page.items] == [2]
        assert [row.version for row in Models(session).version_page("faces", after=page.next).items] == [1]


def test_a_version_number_is_never_used_twice(store: Store) -> None:
    _register(store)
    _register(store)
    with store.transaction() as session:
        Models(session).remove("faces", 2)
    assert _register(store).version == 3
    with store.transaction() as session:
        Models(session).remove("faces")
    with pytest.raises(NotFound):
        _means(store, "faces")
    assert _register(store).version == 4
    assert _means(store, "faces") == 4


@pytest.mark.parametrize(
    ("promote", "errors", "meant"),
    [
        ("always", [1.0, 2.0], 2),
        ("never", [2.0, 1.0, 0.5], 1),
        ("if_better", [2.0, 1.0], 2),
        ("if_better", [1.0, 2.0, 1.0], 1),
        ("if_better", [1.0, None], 1),
        ("if_better", [None, 1.0], 2),
        ("if_better", [math.nan, 1.0, math.nan], 2),
        ("if_better", [3.0, 4.0, 2.0, 2.5], 3),
    ],
)
def test_the_bare_name_moves_as_it_was_told(
    promote: Promote, errors: list[float | None], meant: int, store: Store
) -> None:
    for error in errors:
        _register(store, promote=promote, error=error)
    assert _means(store, "faces") == meant


def test_a_name_goes_to_the_newest_left_when_its_version_is_removed(store: Store) -> None:
    for _ in range(3):
        _register(store)
    with store.transaction() as session:
        Models(session).promote("faces", 1)
    assert _means(store, "faces") == 1
    with store.transaction() as session:
        Models(session).remove("faces", 1)
    assert _means(store, "faces") == 3


def test_an_alias_means_one_version_until_it_is_moved_or_removed(store: Store) -> None:
    first, _ = _register(store), _register(store)
    with store.transaction() as session:
        assert Models(session).set_alias("faces", "champion", 1).version == 1
    assert _means(store, "faces@champion") == 1
    with store.transaction() as session:
        models = Models(session)
        assert models.resolve("faces@1").revision == first.revision + 2, "no longer current, then an alias"
        models.set_alias("faces", "champion", 2)
        models.set_alias("faces", "second", 2)
        assert models.aliases("faces") == {"champion": 2, "second": 2}
    assert _means(store, "faces@champion") == 2
    with store.transaction() as session:
        Models(session).remove_alias("faces", "second")
        Models(session).remove("faces", 2)
    with store.session() as session:
        assert Models(session).aliases("faces") == {}
    for gone in ("faces@champion", "faces@second"):
        with pytest.raises(NotFound):
            _means(store, gone)


def test_an_alias_that_reads_as_a_version_is_refused(store: Store) -> None:
    _register(store)
    for alias in ("3", "", "a@b", "a b"):
        with pytest.raises(BadName), store.transaction() as session:
            Models(session).set_alias("faces", alias, 1)


@pytest.mark.parametrize(
    "reference",
    [
        "nobody",
        "faces@2",
        "faces@x",
        "faces@",
        "@1",
        "faces@1@1",
        "faces@99999999999",
        "",
        "\x00",
        "faces@\x00",
    ],
)
def test_what_is_not_there_is_not_found(reference: str, store: Store) -> None:
    _register(store)
    with pytest.raises(NotFound):
        _means(store, reference)


ACTS: dict[str, Callable[[Models, str], object]] = {
    "versions": lambda models, name: models.versions(name),
    "promote": lambda models, name: models.promote(name, 1),
    "set_alias": lambda models, name: models.set_alias(name, "a", 1),
    "remove_alias": lambda models, name: models.remove_alias(name, "a"),
    "remove": lambda models, name: models.remove(name),
    "remove a version": lambda models, name: models.remove(name, 1),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_act_on_what_is_not_there_is_not_found(act: str, store: Store) -> None:
    for name in ("nobody", "\x00", ""):
        with store.transaction() as session, pytest.raises(NotFound):
            ACTS[act](Models(session), name)
    with store.session() as session:
        assert Models(session).aliases("\x00") == Models(session).aliases("nobody") == {}


@pytest.mark.parametrize("name", ["stats", "a@1", "", "é"])
def test_a_name_that_could_not_be_asked_for_is_refused(name: str, store: Store) -> None:
    with pytest.raises(BadName):
        _register(store, name)


def test_the_list_shows_each_name_once_as_what_it_means(store: Store) -> None:
    _register(store, "a", team="x")
    _register(store, "b")
    _register(store, "a", promote="never")
    with store.session() as session:
        models = Models(session)
        assert [(row.name, row.version) for row in models.page().items] == [("b", 1), ("a", 1)]
        assert [row.name for row in models.page(labels={"team": "x"}).items] == ["a"]


def test_removed_versions_leave_no_labels_and_have_their_files_removed(store: Store) -> None:
    row = _register(store, team="x")
    with store.transaction() as session:
        assert [gone.version for gone in Models(session).remove("faces")] == [1]
    with store.session() as session:
        assert Removals(session).waiting() == [row.artifact]
        assert Models(session).page(labels={"team": "x"}).items == []


def test_a_threshold_is_kept_with_its_version(store: Store) -> None:
    row = _register(store)
    with store.transaction() as session:
        Models(session).set_threshold("faces", {"threshold": 4.5})
    with store.session() as session:
        after = Models(session).resolve("faces@1")
    assert (after.threshold, after.revision) == ({"threshold": 4.5}, row.revision + 1)
