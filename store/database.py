"""The engine of either database, its clock, and the pragmas that make SQLite keep its word.

One synchronous code base: SQLite (write-ahead log, full fsync, `BEGIN IMMEDIATE` for every transaction that
writes, so that it waits its turn instead of failing half-way) and PostgreSQL (READ COMMITTED, short timeouts,
`SKIP LOCKED`).
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry

from store.errors import Unavailable

BUSY_SECONDS = 5
_CLOCKS = {
    "sqlite": text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"),
    # now() would be the transaction's start, which a wait for a lock makes old
    "postgresql": text("SELECT clock_timestamp()"),
}
_PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN")
_POSTGRES_OPTIONS = (
    "-c timezone=UTC -c default_transaction_isolation=read\\ committed -c statement_timeout=30s"
    " -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s"
)


def open_engine(url: str) -> Engine:
    """An engine for this URL; nothing is connected yet. SQLite's folder is made where it is missing."""
    if make_url(url).get_backend_name() == "sqlite":
        return _open_sqlite(url)
    return create_engine(
        url,
        pool_size=10,
        max_overflow=40,
        pool_timeout=BUSY_SECONDS,
        pool_pre_ping=True,
        pool_recycle=1800,
        json_serializer=to_json,
        connect_args={
            # Said aloud: a server set up without a locale would otherwise hand out bytes.
            "client_encoding": "utf8",
            "options": _POSTGRES_OPTIONS,
            "connect_timeout": 5,
            "application_name": "hourglass",
            "keepalives_idle": 30,
            "tcp_user_timeout": 10_000,
        },
    )


def _open_sqlite(url: str) -> Engine:
    database = make_url(url).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=10,
        max_overflow=40,
        pool_timeout=BUSY_SECONDS,
        json_serializer=to_json,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver would begin by itself, deferred: we do it below
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = not connection.get_execution_options().get("postgresql_readonly", False)
    # As PostgreSQL's READ ONLY: a write in a reading session is a mistake, not a lock upgrade that may fail.
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def read_only(engine: Engine) -> Engine:
    """The same engine and pool, for sessions that may not write."""
    return engine.execution_options(postgresql_readonly=True)


def now(session: Session) -> datetime:
    """The database's clock: the one that leases go by, so that no two machines' clocks need to agree."""
    dialect = session.get_bind().dialect.name
    value = session.execute(_CLOCKS[dialect]).scalar_one()
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(moment, datetime)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def insert_missing(session: Session, table: type[DeclarativeBase], values: Mapping[str, object]) -> bool:
    """Insert a row unless its key is there, or just being inserted by somebody else: whether it was us."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    first_column = next(iter(table.__table__.primary_key))
    inserted = insert(table).values(**values).on_conflict_do_nothing().returning(first_column)
    return session.execute(inserted).first() is not None


def insert_all_missing(
    session: Session, table: type[DeclarativeBase], rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert rows, but for those whose key is there already."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    if rows:
        session.execute(insert(table).on_conflict_do_nothing(), [dict(row) for row in rows])


@contextmanager
def as_unavailable() -> Iterator[None]:
    """A database that is down, busy beyond patience or out of connections raises `Unavailable`."""
    try:
        yield
    except (OperationalError, InterfaceError) as problem:
        if not _may_pass(problem.orig):
            raise
        raise Unavailable(f"the database did not answer: {_first_line(problem.orig)}") from problem
    except PoolExhausted as problem:
        raise Unavailable("every connection to the database is in use") from problem


def _may_pass(problem: BaseException | None) -> bool:
    """SQLite calls mistakes of ours operational too, such as a missing table or writing while reading."""
    if not isinstance(problem, sqlite3.Error):
        return True
    name = getattr(problem, "sqlite_errorname", "")
    return name.startswith(_PASSING)


def _first_line(problem: BaseException | None) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


def to_json(value: object) -> str:
    """JSON text for a column; what is not finite becomes null: neither PostgreSQL nor a client reads NaN."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
