"""A real server on a real socket: what an application says arrives whole, and head and body together."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.sending import Protocol, sent_whole

LARGE = bytes(range(256)) * 40_000


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path == "/echo":
        taken = bytearray()
        while (message := await receive())["type"] == "http.request":
            taken += message["body"]
            assert type(message["body"]) is bytes
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(taken)})
        return
    await receive()
    if path == "/broken":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"1234", "more_body": True})
        raise RuntimeError("in the middle")
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b""})
        return
    if path == "/whole":
        headers = [(b"content-length", b"5"), (b"x-mine", b"yes")]
        assert sent_whole(send, headers, b"whole") is True
        return
    if path == "/whole/close":
        headers = [(b"content-length", b"5")]
        assert sent_whole(send, headers, b"whole") is False
    body = LARGE if path == "/large" else b"small"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served() -> Iterator[int]:
    door = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, http=Protocol, loop="uvloop", lifespan="off", log_config=None, log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        yield door.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served() as port:
        yield port


def test_head_and_body_come_together(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        for _ in range(3):
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = line.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\nsmall")


def test_an_answer_in_one_piece_is_an_answer_like_another(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            answer = client.get("/whole")
            assert (answer.status_code, answer.text, answer.headers["x-mine"]) == (200, "whole", "yes")
            assert "date" in answer.headers
            assert client.get("/").text == "small"


def test_a_last_answer_is_not_sent_in_one_piece(port: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/whole/close", headers={"Connection": "close"})
    assert answer.text == "small"
    assert answer.headers["connection"] == "close"


def test_whole_answers_come_in_order(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(
            b"".join(
                b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in (b"/whole", b"/", b"/whole")
            )
        )
        seen = b""
        while seen.count(b"whole") < 2:
            seen += line.recv(65536)
        bodies = [part.split(b"HTTP")[0] for part in seen.split(b"\r\n\r\n")[1:]]
        assert bodies == [b"whole", b"small", b"whole"]


def test_requests_in_one_packet_are_answered_in_order(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        seen = b""
        while seen.count(b"small") < 3:
            seen += line.recv(65536)
        assert seen.count(b"HTTP/1.1 200 OK") == 3


def test_large_answers_and_streams_arrive_whole(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(2):
            assert client.get("/large").content == LARGE
            assert client.get("/stream").text == "0\n1\n2\n"


@pytest.mark.parametrize("piece", [1, 700, 100_000, 3_000_000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_reaches_the_application_whole_however_it_comes(
    port: int, piece: int, is_chunked: bool
) -> None:
    body = LARGE[: 4000 * piece]
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {} if is_chunked else {"Content-Length": str(len(body))}
        for _ in range(2):
            assert client.post("/echo", content=iter(pieces), headers=headers).content == body
        # All pieces of one body in one packet, before anybody asked for them.
        framed = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (*pieces[:50], b""))
        with socket.create_connection(("127.0.0.1", port)) as line:
            head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            line.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + framed)
            seen = b"".join(iter(lambda: line.recv(65536), b""))
    assert seen.startswith(b"HTTP/1.1 200 OK")
    assert b"".join(pieces[:50])[-1000:] in seen


def test_a_connection_that_closes_gets_its_answer_first(port: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}/large", headers={"Connection": "close"})
    assert answer.content == LARGE


def test_an_answer_that_breaks_off_is_seen_to(port: int) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{port}/broken")


def test_a_client_that_reads_nothing_holds_nobody_up(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert httpx.get(f"http://127.0.0.1:{port}/").content == b"small"
    assert httpx.get(f"http://127.0.0.1:{port}/").content == b"small"
