"""Heads that come again: the requests of one connection differ in their bodies, and in how long those are."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from service.direct import Plain

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_MOST_DIGITS = 9


class RepeatedHead(NamedTuple):
    """The bytes of a plain request's head around the length of its body, and what they mean.

    Whatever begins with the same bytes means the same, and need not be read again header by header.
    """

    before: bytes
    after: bytes
    plain: Plain

    @classmethod
    def of(cls, data: bytes, plain: Plain) -> Self | None:
        """The head of a request that came in one piece; None where that is not all of it, or more."""
        begin = data.find(b"\r\n\r\n") + 4
        if len(data) - begin != plain.size:
            return None
        length = _LENGTH.search(data, 0, begin)
        if length is None:
            return None
        return cls(data[: length.start(1)], data[length.end(1) : begin], plain)

    def body_of(self, data: bytes) -> bytes | None:
        """The body of one whole request with this head; None where the bytes are anything else."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        end = data.find(self.after, start, start + _MOST_DIGITS + len(self.after))
        size = data[start:end] if end > 0 else b""
        if not size.isdigit():
            return None
        begin = end + len(self.after)
        return data[begin:] if len(data) - begin == int(size) else None
