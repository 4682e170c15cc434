"""Large JSON bodies: rows are computed while others still come, and written while others are computed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import Receive

from service.routes.answered import Parts, Sent, in_place
from service.serving.arriving import Arriving
from service.serving.codecs import JSON, Array, Question, json_answers
from service.serving.engine import Action, Answer

Parse = Callable[[Parts], Awaitable[tuple[Question, float]]]
LARGE_BYTES = 1024 * 1024
"""What is smaller is read at once, and written where we are."""
_ALL_BUT_THE_LAST, _THE_LAST = slice(-1), slice(-1, None)


def size_of(sent: Sent, media: str, action: Action) -> int | None:
    """The bytes of a body that may be read while it comes: large, JSON, and with nothing behind its rows."""
    size = sent.get(b"content-length", b"")
    # Behind the rows of `score` may stand what else is wanted of each.
    plain = media == JSON and action != "score" and b"content-encoding" not in sent and b"x-shape" not in sent
    return int(size) if plain and size.isdigit() and int(size) > LARGE_BYTES else None


def formed(action: Action, question: Question, values: Array) -> Array:
    """Rows come back in the form in which they were sent; anything else as it is."""
    flat = action == "reconstruct" and question.flat
    return values.reshape(len(values), -1) if flat else values


class Underway:
    """A request whose rows arrive, are computed and are answered all at the same time.

    Args:
        arriving: its rows.
        action: what is asked for.
        wanted: the format of its answer; lists of JSON are written part by part.
        receive: the request's own; says whether the client is still there.
    """

    def __init__(self, arriving: Arriving, action: Action, wanted: str, receive: Receive | None) -> None:
        self._arriving, self._action, self._receive = arriving, action, receive
        self._lists = json_answers.Lists() if wanted == JSON else None
        self._question: Question | None = None

    async def end(self, parse: Parse, parts: Parts) -> tuple[Question, float]:
        """What came, or where it was not as plain as it seemed, what is read of the whole.

        Raises:
            ClientGone: the client left before.
        """
        self._question = question = self._arriving.end()
        if question is None:
            return await parse(parts)
        # The next large body is read when there is nearly nothing left to do of this one: if the reading were
        # ahead of the device, rows and bodies would fill the memory.
        await self._write(question, _ALL_BUT_THE_LAST)
        return question, self._arriving.parse_seconds

    @property
    def is_whole(self) -> bool:
        """Whether all that came was read here, and not by `parse`."""
        return self._question is not None

    async def answer(self) -> tuple[Answer, bytes | None]:
        """What the model made of rows that are whole, and its lists where they are wanted.

        Raises:
            ClientGone: the client left before.
        """
        assert self._question is not None  # who asks for it looked
        await self._write(self._question, _THE_LAST)
        answer = await self._arriving.answer(self._receive)
        return answer, None if self._lists is None else self._lists.text()

    async def _write(self, question: Question, which: slice) -> None:
        """Write what is computed, as soon as it is."""
        async for values in self._arriving.computed(self._receive, which):
            if self._lists is not None:
                rows = formed(self._action, question, values)
                await in_place(2 * rows.nbytes <= LARGE_BYTES, self._lists.add, rows)
