"""The structured log line that every process writes: for people (console) or for machines (json)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict, Processor

from store.settings import StoreSettings

# Chatty at INFO, and silent about nothing that we do not say ourselves.
_QUIET = ("kombu", "amqp", "alembic", "fsspec", "botocore", "aiobotocore", "s3fs", "urllib3", "asyncio")


def configure(settings: StoreSettings, process: str) -> None:
    """Send everything that this process logs, ours and the libraries', to stderr as one line each."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if settings.log_format == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        last += [_console()]
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(settings.log_level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; give it facts by keyword: `log.info("claimed", job=job.id)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def bound(*, request_id: str | None = None, job_id: str | None = None) -> Iterator[None]:
    """Have every line logged meanwhile in this thread or task say which request or job it belongs to."""
    facts = {
        name: value for name, value in (("request_id", request_id), ("job_id", job_id)) if value is not None
    }
    with structlog.contextvars.bound_contextvars(**facts):
        yield


def _console() -> structlog.dev.ConsoleRenderer:
    # Plain traces: the pretty ones print every local variable, keys among them, and take seconds to draw.
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _named(process: str) -> Processor:
    def add(_logger: object, _method: str, line: EventDict) -> EventDict:
        line.setdefault("process", process)
        return line

    return add
