"""What can go wrong at the door; errors carry facts, and `problems.py` alone knows which status each becomes.

ServiceError
├── SettingsRefused       the process may not start so
├── NotAuthenticated      no key, or one that is unknown, expired or revoked
├── NotAllowed            a key without the scope that the route needs
├── ForeignRequest        a Host or Origin that may not reach a service without keys
├── FieldRefused          a request that reads well but asks for what cannot be; says where
├── BodyTooLarge          more bytes than the limit
├── Busy                  too many requests at once
├── TooManyStreams        one caller holds too many event streams
├── UnknownContentType    a body of a kind that is not read here
├── ChildRefused          a bounded child process will not do what it was asked, and says why
├── ChildFailed           a bounded child process broke, ran out of its limits, or was ended
├── ParseFailed           the bounded process that reads uploads broke, or ran out of its limits
├── DiagnosisFailed       a job cannot be diagnosed within a minute, or within its memory
└── PreconditionFailed    the resource is not in the state that the request needs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Why = Literal["memory", "time", "size", "stopping", "left", "broke"]
"""Why a child process has no answer; `left` is that nobody waits for it any more."""
Place = tuple[str | int, ...]


class ServiceError(Exception):
    """Any error of this package."""


class SettingsRefused(ServiceError):
    """The settings do not allow a start; the message is one line that names the setting."""


class NotAuthenticated(ServiceError):
    """No key, or a key that is unknown, expired or revoked."""


class NotAllowed(ServiceError):
    """The key is good, but lacks the scope."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs a key with the scope {scope!r}")
        self.scope = scope


class ForeignRequest(ServiceError):
    """A Host or Origin that may not reach a service without keys."""


class FieldRefused(ServiceError):
    """A request that reads well but asks for what cannot be.

    Args:
        problems: pairs of the field's location and what is wrong there.
    """

    def __init__(self, problems: Sequence[tuple[Place, str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, place))}: {message}" for place, message in problems))
        self.problems = tuple(problems)


class BodyTooLarge(ServiceError):
    """More bytes than the limit; says the size as far as it is known, and the way in bulk."""

    def __init__(self, limit_bytes: int, size_bytes: int, *, counted: bool, bulk: str) -> None:
        size = f"at least {size_bytes:,}" if counted else f"{size_bytes:,}"
        super().__init__(f"the body has {size} bytes; the limit is {limit_bytes:,}. {bulk}")
        self.limit_bytes, self.size_bytes = limit_bytes, size_bytes


class Busy(ServiceError):
    """Too many requests are in flight."""


class TooManyStreams(ServiceError):
    """One caller holds too many event streams."""


class UnknownContentType(ServiceError):
    """A body of a kind that is not read here."""


class ChildRefused(ServiceError):
    """A bounded child process will not do what it was asked.

    Args:
        said: its answer, with at least a `message`.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(str(said.get("message")))
        self.said = said


class ChildFailed(ServiceError):
    """A bounded child process broke, ran out of its limits, or was ended.

    Args:
        why: in one word.
        last_words: the end of what it wrote to its standard error: for the log, never for a caller.
    """

    def __init__(self, why: Why, last_words: str = "") -> None:
        super().__init__(f"the child process failed: {why}")
        self.why, self.last_words = why, last_words


class ParseFailed(ServiceError):
    """The bounded process that reads uploads broke, or ran out of memory or time."""


class DiagnosisFailed(ServiceError):
    """A job cannot be diagnosed within a minute, or within the memory that a diagnosis may use."""


class PreconditionFailed(ServiceError):
    """The resource is not in the state that the request needs."""
