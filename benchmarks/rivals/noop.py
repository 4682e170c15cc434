"""The limit of any Python server here: bare uvicorn that reads a body and answers a fixed one."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

ANSWER = b'{"codes":[[' + b",".join([b"0.12345678"] * 30) + b"]]}"
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read to the end, answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    uvicorn.run(
        "noop:app", port=int(sys.argv[1]), workers=int(sys.argv[2]), loop="uvloop", http="httptools",
        access_log=False, log_level="warning",
    )  # fmt: skip
