"""WorkerSettings: the device, the intervals at which a job is watched and kept, and what it may take."""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import ByteSize, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from store.settings import StoreSettings


class WorkerSettings(StoreSettings):
    """What a worker is told by `HOURGLASS_*` variables, beside what every process is told."""

    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="The device this worker trains on; `auto` takes a GPU where torch finds one."
    )
    worker_name: str | None = Field(
        None, max_length=64, description="A name for this worker in lists; unset: made from the host's name."
    )
    checkpoint_seconds: NonNegativeFloat = Field(
        10.0, description="Least time between two checkpoints of a job; each falls on the end of an epoch."
    )
    beat_seconds: PositiveFloat = Field(
        2.0, description="How often a running job's lease is renewed; a third of the lease at most."
    )
    watch_seconds: PositiveFloat = Field(
        0.25, le=1.0, description="How often a worker looks whether its job was asked to end."
    )
    leave_seconds: PositiveFloat = Field(
        7.0, description="How long a job may take for its last checkpoint when its worker is told to end."
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="The port of `/metrics`; 0: none.")
    metrics_host: str = Field("127.0.0.1", description="The address on which `/metrics` is served.")
    threads: PositiveInt | None = Field(
        None, description="Threads of a training; unset: as many as there are processors for it."
    )
    niceness: int = Field(
        10,
        ge=0,
        le=19,
        description="How far a job's process gives way to others on its cores, as `nice` says.",
    )
    embed_part_bytes: Annotated[ByteSize, Field(gt=0)] = Field(
        ByteSize(32 * 2**20),
        description="What the rows of an embed job's part take as float32; after a kill one part is redone.",
    )
    memory_limit_bytes: ByteSize | None = Field(
        None, description="The most memory a job may be estimated at; unset: what its device has free."
    )

    @model_validator(mode="after")
    def _beats_fit_into_the_lease(self) -> Self:
        if self.beat_seconds * 3 > self.lease_seconds:
            raise ValueError("beat_seconds must be at most a third of lease_seconds")
        return self

    def as_environment(self) -> dict[str, str]:
        """The variables that give a child the same settings."""
        prefix = str(self.model_config.get("env_prefix", ""))
        values = self.model_dump(mode="json", include=self.model_fields_set)
        return {
            f"{prefix}{name}".upper(): value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
            if value is not None
        }
