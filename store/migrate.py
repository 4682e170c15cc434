"""Bring a database to the schema that this version works with; safe when several processes start at once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from store.database import as_unavailable, open_engine
from store.errors import SchemaOutdated
from store.settings import StoreSettings

_FOLDER = Path(__file__).parent / "migrations"
_POSTGRES_LOCK = 0x686F757267  # "hourg"


def migrate(settings: StoreSettings) -> None:
    """Create or upgrade the tables; nothing happens where they are as they should be."""
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = open_engine(settings.database)
    try:
        with as_unavailable(), _alone(engine) as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def check_schema(connection: Connection) -> None:
    """Nothing, or `SchemaOutdated`."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found != wanted_revision():
        raise SchemaOutdated(
            f"the database's schema is at {found or 'nothing'}, this version wants {wanted_revision()}: "
            "run `hourglass migrate`"
        )


@cache
def wanted_revision() -> str:
    """The schema that this version works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that nobody else who migrates has at the same time."""
    if engine.dialect.name == "sqlite":
        # A file beside the database: even the switch to the write-ahead log needs one process at a time.
        with Path(f"{engine.url.database}.migrating").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.begin() as connection:
                yield connection
        return
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '120s'"))
        connection.execute(text("SET LOCAL statement_timeout = '600s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _POSTGRES_LOCK})
        yield connection
