from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

import store as store_package
from store import EventRow, JobRow, Store, StoreSettings, migrate
from store.database import open_engine
from store.tables import Table
from tests.store import given
from tests.store.conftest import settings_for


@pytest.fixture
def unmigrated(empty_database: str, tmp_path: Path) -> StoreSettings:
    return settings_for(tmp_path / "home", database_url=empty_database)


def test_the_migrated_schema_is_the_one_of_the_tables(unmigrated: StoreSettings) -> None:
    migrate(unmigrated)
    engine = open_engine(unmigrated.database)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Table.metadata) == []
        found = inspect(connection)
        for table in Table.metadata.tables.values():
            assert found.get_pk_constraint(table.name)["constrained_columns"] == [
                column.name for column in table.primary_key
            ]
        assert [check["name"] for check in found.get_check_constraints("job")] == ["ck_job_state"]
    engine.dispose()


def test_migrating_again_changes_nothing(unmigrated: StoreSettings) -> None:
    migrate(unmigrated)
    store = Store.open(unmigrated)
    job = given.job(store)
    migrate(unmigrated)
    assert given.found(store, job.id).id == job.id
    store.close()


def test_jobs_and_their_events_come_along_from_the_schema_without_studies(unmigrated: StoreSettings) -> None:
    migrate(unmigrated)
    _go_to(unmigrated, command.downgrade, "0001")
    engine = open_engine(unmigrated.database)
    columns = {
        "id": "'job_1'",
        "kind": "'train'",
        "state": "'queued'",
        "dataset_id": "'ds_1'",
        "dataset_name": "'digits'",
        **dict.fromkeys(("labels", "spec", "progress", "metrics"), "'{}'"),
        "device": "'cpu'",
        **dict.fromkeys(("priority", "token", "attempts", "lost", "events", "revision"), "0"),
        **dict.fromkeys(("created_at", "updated_at"), "'2026-01-02 03:04:05.000000'"),
    }
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO job ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")
        )
        connection.execute(
            text(
                "INSERT INTO event (job_id, number, type, data, at) "
                "VALUES ('job_1', 1, 'log', '{}', '2026-01-02 03:04:05.000000')"
            )
        )
    engine.dispose()
    _go_to(unmigrated, command.upgrade, "head")
    store = Store.open(unmigrated)
    with store.session() as session:
        job = session.get_one(JobRow, "job_1")
        assert (job.held, job.study_id, job.study_place, job.manifest) == (False, None, None, None)
        assert session.get(EventRow, ("job_1", 1)) is not None
    store.close()


def _go_to(settings: StoreSettings, act: Callable[[Config, str], None], revision: str) -> None:
    engine = open_engine(settings.database)
    config = Config()
    config.set_main_option("script_location", str(Path(store_package.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        act(config, revision)
    engine.dispose()


def test_many_may_migrate_at_once(unmigrated: StoreSettings) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(migrate, [unmigrated] * 4)
        pool.close()
        pool.join()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, [unmigrated] * 4))
    store = Store.open(unmigrated)
    assert store.parts()["database"] is None
    store.close()


def test_a_database_that_was_never_migrated_or_is_newer_is_said(unmigrated: StoreSettings) -> None:
    store = Store.open(unmigrated)
    assert "hourglass migrate" in str(store.parts()["database"])
    migrate(unmigrated)
    assert store.parts()["database"] is None
    with store.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'from the future'"))
    assert "from the future" in str(store.parts()["database"])
    store.close()
