"""What the gateway is told: the store's settings, and its own address, limits and keys."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
)

from service.errors import SettingsRefused
from store.settings import StoreSettings

OPEN_WORDS = "yes, anyone may use this service"
_MB = 1024 * 1024


class ServiceSettings(StoreSettings):
    """Everything the gateway reads from `HOURGLASS_*` or `.env`, once, at its start."""

    host: str = Field("127.0.0.1", description="Address to listen on; any that is not loopback needs a key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    root_path: str = Field(
        "",
        description="Prefix under which a proxy offers the gateway, such as `/hourglass`; sent on or cut.",
    )
    admin_key: SecretStr | None = Field(
        None, description="A key with the scope `admin`, known without a database."
    )
    open: str | None = Field(None, description=f"`{OPEN_WORDS}` lets everybody in where there are no keys.")
    body_limit_bytes: PositiveInt = Field(64 * _MB, description="Largest body of any request but an upload.")
    upload_limit_bytes: PositiveInt = Field(64 * 1024 * _MB, description="Largest upload of a dataset.")
    requests_in_flight: PositiveInt = Field(256, description="Requests answered at once; more are a 503.")
    streams_per_caller: PositiveInt = Field(64, description="Event streams one caller may hold open.")
    url_prefixes: tuple[str, ...] = Field(
        (), description='What `{"url": …}` may begin with; none by default.'
    )
    parse_processes: PositiveInt = Field(os.cpu_count() or 1, description="Uploads parsed at once.")
    parse_memory_bytes: PositiveInt = Field(6 * 1024 * _MB, description="Address space of a parsing process.")
    parse_seconds: PositiveInt = Field(1800, description="Wall time of a parsing process.")
    diagnose_processes: PositiveInt = Field(2, description="Diagnoses made at once; a full house is a 503.")
    diagnose_memory_bytes: PositiveInt = Field(
        3 * 1024 * _MB, description="Memory that a process that diagnoses may write to."
    )
    diagnose_seconds: PositiveInt = Field(
        50, description="Wall time of a process that diagnoses: an answer within a minute."
    )
    model_cache_bytes: PositiveInt = Field(1024 * _MB, description="Bytes of models kept in memory.")
    inference_device: Literal["auto", "cpu", "gpu"] = Field("auto", description="Where models answer.")
    gateway_processes: int = Field(
        1, ge=0, le=64, description="Gateway processes that `serve` runs on the one port; 0: one per core."
    )
    metrics_folder: Path | None = Field(
        None,
        description="Where gateway processes on one port share their series; unset: `serve` makes a folder.",
    )
    inference_threads: NonNegativeInt = Field(
        0, description="Threads of a forward pass; 0: the cores, shared out among the gateway's processes."
    )
    inference_runtime: Literal["auto", "torch", "onnx"] = Field(
        "auto", description="What computes; `auto`: what was fastest when the model was published."
    )
    inference_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="In which numbers; bfloat16 answers with two to three digits."
    )
    inference_spin: bool = Field(
        False, description="Threads of ONNX Runtime spin while idle: faster alone, ruinous beside a training."
    )
    inference_batch_rows: PositiveInt = Field(256, description="Rows of one forward pass at most.")
    inference_rows_queued: PositiveInt = Field(200_000, description="Rows that may wait for the device.")
    alias_seconds: PositiveFloat = Field(
        0.8, le=1.0, description="How long a model's name is remembered; asked again at half of it."
    )
    keep_alive_seconds: PositiveFloat = Field(15.0, description="Between two keep-alives of an event stream.")

    @field_validator("open")
    @classmethod
    def _open_only_in_words(cls, value: str | None) -> str | None:
        if value in (None, ""):
            return None
        if value != OPEN_WORDS:
            raise ValueError(f"must read {OPEN_WORDS!r} or be unset")
        return value

    @field_validator("root_path")
    @classmethod
    def _root_path_is_a_path(cls, value: str) -> str:
        bare = value.rstrip("/")
        if bare and not bare.startswith("/"):
            raise ValueError(f"must begin with /, not {value!r}")
        return bare

    @field_validator("admin_key")
    @classmethod
    def _admin_key_is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if len(value.get_secret_value()) < 16:
            raise ValueError("must have at least 16 characters")
        return value

    @field_validator("url_prefixes")
    @classmethod
    def _prefixes_end_a_part(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for prefix in value:
            scheme, found, rest = prefix.partition("://")
            if not found or scheme not in {"https", "http", "s3", "gs"} or not rest.rstrip("/"):
                raise ValueError(
                    f"{prefix!r} must begin with https://, http://, s3:// or gs:// and name a host or bucket"
                )
        return tuple(prefix if prefix.endswith("/") else prefix + "/" for prefix in value)

    @property
    def processes(self) -> int:
        """Gateway processes on the one port."""
        return self.gateway_processes or cores()

    @property
    def threads(self) -> int:
        """Threads of a forward pass in each."""
        return self.inference_threads or max(1, cores() // self.processes)

    @property
    def is_open(self) -> bool:
        """Whether it was said in words that anyone may use this service."""
        return self.open is not None


def read_settings(**given: Any) -> ServiceSettings:
    """The settings from the environment, `.env` and the arguments.

    Raises:
        SettingsRefused: one is wrong; the message is one line that names it.
    """
    try:
        return ServiceSettings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "HOURGLASS_" + "_".join(str(part) for part in first["loc"][:1]).upper()
        raise SettingsRefused(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host.lower() in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
