"""Heads that come again on a connection are known by their bytes: nobody may see a difference."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from service.direct import Direct, Plain, Target
from service.repeats import RepeatedHead
from service.sending import Protocol
from tests.service.serving.on_a_port import PATH, ROUTE, ROWS, Gateway, plainly, read_answers, request

TARGET = Target(PATH, ROUTE, "encode", "digits-code")
HEADS = [
    b"POST /a HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\nAccept: */*\r\n\r\n",
    b"POST /a HTTP/1.1\r\ncontent-length:%d\r\nHost: here\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: here\r\nX-Content-Length: 7\r\nCONTENT-LENGTH: \t%d \r\n\r\n",
]


def _plain(size: int) -> Plain:
    return Plain(TARGET, {}, size)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [0, 1, 9, 10, 12345])
def test_a_head_is_known_again_whatever_its_body_weighs(head: bytes, size: int) -> None:
    repeated = RepeatedHead.of(head % 5 + b"first", _plain(5))
    assert repeated is not None
    # Digits and blank lines in a body are nobody's length and nobody's end.
    body = (b"8\r\n\r\n" * size)[:size]
    assert repeated.body_of(head % size + body) == body


@pytest.mark.parametrize("head", HEADS)
def test_what_is_not_one_whole_request_with_that_head_is_not_known(head: bytes) -> None:
    whole = head % 5 + b"first"
    repeated = RepeatedHead.of(whole, _plain(5))
    assert repeated is not None
    for changed in (
        *(whole[:length] for length in range(len(whole))),
        whole + b"x",
        whole + whole,
        b"\r\n" + whole,
        whole.replace(b"/a", b"/b"),
        whole.replace(b"Host: here", b"Host: Here"),
        *(head.replace(b"%d", length) + b"first" for length in (b"+5", b"5x", b"", b"-5", b" 5 5", b"\xb2")),
    ):
        assert repeated.body_of(changed) is None, changed


@pytest.mark.parametrize(
    "data", [HEADS[0] % 5 + b"firs", HEADS[0] % 5 + b"first" * 2, b"Content-Length: 5", b"\r\n\r\nfirst"]
)
def test_nothing_is_learnt_from_less_or_more_than_one_request(data: bytes) -> None:
    assert RepeatedHead.of(data, _plain(5)) is None


def _body(count: int) -> bytes:
    return json.dumps({"inputs": ROWS[:count].tolist()}).encode()


CHUNKED = request(PATH, b"", Transfer_Encoding="chunked").replace(b"Content-Length: 0\r\n", b"")
# What comes on a connection behind a plain request, and the statuses of its answers.
NEXT: list[tuple[str, list[bytes], list[int]]] = [
    ("another body", [request(PATH, _body(3))], [200]),
    ("a malformed one", [request(PATH, b'{"inputs": [[1]]}')], [422]),
    ("none", [request(PATH, b"")], [422]),
    ("another path", [request("/v1/models/nobody/encode", _body(1))], [404]),
    ("another key", [request(PATH, _body(1)).replace(b"Bearer ", b"Bearer not-")], [401]),
    ("two at once", [request(PATH, _body(2)) + request(PATH, _body(3))], [200, 200]),
    ("two, the second cut", [request(PATH, _body(2)) + request(PATH, _body(3))[:300]], [200]),
    ("in pieces", [request(PATH, _body(1))[:250], request(PATH, _body(1))[250:]], [200]),
    ("chunked", [CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_body(2)), _body(2))], [200]),
    ("an unusual header", [request(PATH, _body(1), Content_Encoding="br")], [415]),
]


@pytest.mark.parametrize(("what", "pieces", "statuses"), NEXT, ids=[what for what, _, _ in NEXT])
def test_the_next_request_is_answered_as_on_a_connection_of_its_own(
    gateway: Gateway, taken: list[bool], what: str, pieces: list[bytes], statuses: list[int]
) -> None:
    def ask() -> tuple[list[tuple[int, Any]], list[tuple[int, Any]]]:
        with gateway.line() as line, gateway.line() as other:
            line.sendall(request(PATH, _body(1)))
            read_answers(line, 1)
            found = []
            for asked in (line, other):
                for piece in pieces:
                    asked.sendall(piece)
                    gateway.client.get("/health/live")  # so that it is read before the next
                found.append(read_answers(asked, len(statuses)))
            # What came last leaves the connection as it should be for one more.
            if "cut" in what:
                line.sendall(request(PATH, _body(3))[300:])
                assert read_answers(line, 1)[0][0] == 200
            line.sendall(request(PATH, _body(2)))
            assert read_answers(line, 1)[0][0] == 200
        return found[0], found[1]

    behind, alone = plainly(gateway, taken, ask)
    assert [status for status, _ in behind] == statuses
    for (_, here), (_, there) in zip(behind, alone, strict=True):
        here.pop("request_id", None), there.pop("request_id", None)
        assert here == there


def test_a_repeated_head_is_not_read_again_but_its_key_is_asked_for(
    gateway: Gateway, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    known = Direct.known

    def seen(self: Direct, url: bytes, headers: Any) -> Plain | None:
        read.append(url)
        return known(self, url, headers)

    monkeypatch.setattr(Direct, "known", seen)

    def ask() -> list[tuple[int, Any]]:
        with gateway.line() as line:
            read.clear()
            answers = []
            for count in (1, 2, 3):
                line.sendall(request(PATH, _body(count)))
                answers += read_answers(line, 1)
            # The same head again, once its key is no key any more.
            heads = len(read)
            gateway.app.state.gateway.gatekeeper.forget()
            line.sendall(request(PATH, _body(1)))
            answers += read_answers(line, 1)
            assert len(read) == heads
            return answers

    answers = plainly(gateway, taken, ask)
    assert [status for status, _ in answers] == [200] * 4
    assert [len(body["codes"]) for _, body in answers] == [1, 2, 3, 1]
    assert read == [PATH.encode()]
    assert taken[:3] == [True] * 3


def test_a_connection_that_rests_too_long_is_closed_and_one_in_use_is_not(
    gateway: Gateway, taken: list[bool]
) -> None:
    def tick(protocol: Protocol, *, rested: bool) -> None:
        """Its timer is over, as it is some time after the first answer."""
        done = threading.Event()

        def over() -> None:
            if rested:
                protocol._rests_since -= protocol.timeout_keep_alive
            protocol.timeout_keep_alive_handler()
            done.set()

        protocol.loop.call_soon_threadsafe(over)
        assert done.wait(60)

    def ask() -> None:
        others = set(gateway.server.server_state.connections)
        with gateway.line() as line:

            def answer() -> int:
                line.sendall(request(PATH, _body(1)))
                return int(read_answers(line, 1)[0][0])

            assert answer() == 200
            (protocol,) = set(gateway.server.server_state.connections) - others
            assert isinstance(protocol, Protocol)
            for _ in range(2):
                assert answer() == 200
                tick(protocol, rested=False)
            assert answer() == 200
            tick(protocol, rested=True)
            assert line.recv(1) == b""

    plainly(gateway, taken, ask)
