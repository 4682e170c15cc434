"""Sortable, prefixed ids, and which names people may give.

An id is its kind, `_`, and 26 letters of base 32 that hold 48 bits of milliseconds, 16 bits that only grow
within a millisecond, and 64 random bits: sorting by id is sorting by age, whoever made it.
"""

from __future__ import annotations

import re
import secrets
import threading
import time

from store.errors import BadName

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(r"[a-z]{1,16}_[0-9a-hjkmnp-tv-z]{26}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_lock = threading.Lock()
_last = 0


def new(kind: str) -> str:
    """A fresh id of this kind, greater than any that this process made before."""
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1_000_000 << 16)
        stamp = _last
    value = stamp << 64 | secrets.randbits(64)
    return f"{kind}_" + "".join(_LETTERS[value >> shift & 31] for shift in range(125, -5, -5))


def made_at(identity: str) -> float:
    """When an id was made, in seconds since 1970 by its maker's clock."""
    value = 0
    for letter in identity.rpartition("_")[2]:
        value = value << 5 | _LETTERS.index(letter)
    return (value >> 80) / 1000


def is_id(text: str, kind: str | None = None) -> bool:
    """Whether this reads as an id (of that kind), so that nothing else ever reaches a query or a path."""
    return _ID.fullmatch(text) is not None and (kind is None or text.startswith(f"{kind}_"))


def is_name(text: str) -> bool:
    """Whether people may give this name to a dataset, a model or an alias."""
    return _NAME.fullmatch(text) is not None


def check_name(kind: str, name: str, *, reserved: tuple[str, ...] = ()) -> str:
    """The name itself, or `BadName`."""
    if not is_name(name):
        raise BadName(
            kind, name, "letters, digits, '.', '_' and '-' only, at most 64, a letter or digit first"
        )
    if name in reserved:
        raise BadName(kind, name, "this name is reserved")
    return name
