"""StoreSettings: three URLs (database, artifacts, broker) and the limits of what is kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_DATABASES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")
_BROKERS = ("redis", "rediss", "redis+socket")
# A unix socket's path holds at most 107 bytes; leave some for what is put beside it.
_SOCKET_PATH_BYTES = 100


def socket_path(home: Path) -> Path:
    """Where the embedded broker of this home listens: a short path, in a folder of our own."""
    mark = hashlib.sha256(os.fsencode(home.expanduser().resolve())).hexdigest()[:8]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        path = Path(runtime) / f"hourglass-{mark}" / "broker.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            return path
    return Path("/tmp") / f"hourglass-{os.getuid()}-{mark}" / "broker.sock"


def _scheme(name: str, url: str, known: tuple[str, ...]) -> str:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in known:
        raise ValueError(f"{name} must begin with one of {', '.join(word + '://' for word in known)}")
    return scheme


class StoreSettings(BaseSettings):
    """What every process needs to find the memory; `HOURGLASS_*` variables or `.env`."""

    model_config = SettingsConfigDict(env_prefix="HOURGLASS_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(Path("~/.hourglass"), validate_default=True, description="The data folder.")
    database_url: str | None = Field(
        None, description="sqlite:///path or postgresql://…; unset: a SQLite file in the home."
    )
    broker_url: str | None = Field(
        None, description="redis://…, rediss://… or redis+socket://…; unset: the embedded broker's socket."
    )
    artifacts_url: str | None = Field(
        None,
        description="A folder or a URL that fsspec knows, such as s3://bucket/prefix; unset: in the home.",
    )
    lease_seconds: float = Field(30, gt=0, description="How long a job stays its worker's without a beat.")
    caretaker_seconds: float = Field(2, gt=0, description="How often the caretaker looks around.")
    hint_seconds: float = Field(
        30,
        gt=0,
        description="A queued job's hint is sent again after so long, and workers look without one.",
    )
    checkpoints_kept_days: float = Field(
        7, ge=0, description="How long a finished job's checkpoints are kept."
    )
    idempotency_hours: float = Field(
        24, ge=24, description="How long the answer to an Idempotency-Key is kept."
    )
    uploads_kept_hours: float = Field(24, gt=0, description="After how long an unfinished upload is removed.")
    cache_bytes: int = Field(
        20_000_000_000, ge=0, description="How much of remote artifacts is kept as local copies."
    )
    free_disk_floor_bytes: int = Field(
        512_000_000, ge=0, description="Free disk space under which nothing new is accepted."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least level logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="Lines for people or for machines.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().resolve()

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("database_url", "broker_url", "artifacts_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, url: object) -> object:
        return None if url == "" else url  # compose files can only set a variable to nothing

    @field_validator("database_url")
    @classmethod
    def _database(cls, url: str | None) -> str | None:
        if url is None:
            return None
        scheme = _scheme("the database's URL", url, _DATABASES)
        if scheme == "sqlite":
            if ":memory:" in url or url.rstrip("/") == "sqlite:":
                raise ValueError("a database in memory is no use to several processes: name a file")
            return url
        return "postgresql+psycopg" + url[len(scheme) :]

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, url: str | None) -> str | None:
        if url is not None:
            _scheme("the broker's URL", url, _BROKERS)
        return url

    @property
    def database(self) -> str:
        """The database's URL, whether set or not."""
        return self.database_url or f"sqlite:///{self.home / 'hourglass.db'}"

    @property
    def broker(self) -> str:
        """The broker's URL, whether set or not."""
        return self.broker_url or f"redis+socket://{socket_path(self.home)}?virtual_host=0"

    @property
    def artifacts(self) -> str:
        """Where the artifacts are, whether set or not."""
        return self.artifacts_url or str(self.home / "artifacts")

    @property
    def uploads(self) -> Path:
        """Where unfinished uploads lie; what is forgotten there is removed by the caretaker."""
        return self.home / "uploads"

    @property
    def cache(self) -> Path:
        """Where local copies of remote artifacts lie; it may be emptied while nothing runs."""
        return self.home / "cache"
