"""Store: the one object that opens rows, files and the queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from store import hints
from store.artifacts import Artifacts
from store.database import as_unavailable, open_engine, read_only
from store.errors import StoreError
from store.migrate import check_schema
from store.queue import Queue
from store.settings import StoreSettings


class Store:
    """What the house remembers. Open one a process; it may be used by any number of threads."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.engine = open_engine(settings.database)
        self.artifacts = Artifacts.open_from(settings)
        self.queue = Queue(settings)
        # Rows stay usable after their session: they are facts read at a moment, not live objects.
        self._reading = sessionmaker(read_only(self.engine), expire_on_commit=False)
        self._writing = sessionmaker(self.engine, expire_on_commit=False)

    @classmethod
    def open(cls, settings: StoreSettings) -> Store:
        """Open the store that these settings name; the tables are `migrate`'s to make."""
        settings.home.mkdir(parents=True, exist_ok=True)
        return cls(settings)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session to read with; writing in it is refused by either database."""
        with as_unavailable(), self._reading() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session to write with: committed at its end, or not at all. Keep it short.

        Hints that were asked for in it are sent after the commit.
        """
        with as_unavailable(), self._writing.begin() as session:
            yield session
        for device in hints.asked(session):
            self.queue.hint(device)

    def parts(self) -> dict[str, str | None]:
        """Each part and what is wrong with it, None where nothing is."""
        return {
            "database": self._check_database(),
            "artifacts": self.artifacts.check(),
            "broker": self.queue.check(),
        }

    def close(self) -> None:
        """Close every connection; what is committed stays, of course."""
        self.queue.close()
        self.engine.dispose()

    def _check_database(self) -> str | None:
        try:
            with self.session() as session:
                session.execute(text("SELECT 1"))
                check_schema(session.connection())
        except StoreError as problem:
            return str(problem)
        return None
