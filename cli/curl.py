"""Commands to copy: a model trained and used by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

SMALLEST_JOB: Mapping[str, Any] = {"dataset": "digits", "code": 8}


def curl_lines(
    url: str, *, job: Mapping[str, Any] = SMALLEST_JOB, row: Sequence[float] | None = None, key: bool = False
) -> list[str]:
    """Train, look how far it is, and encode a row; they run as they stand, one after the other.

    Args:
        url: the gateway's.
        job: what is submitted.
        row: what is encoded; a grey wedge if not given.
        key: is a key needed?
    """
    curl = "curl -s " + ('-H "Authorization: Bearer $HOURGLASS_ADMIN_KEY" ' if key else "")
    body = "-H 'content-type: application/json' -d "
    numbers = row if row is not None else [round(pixel / 64, 2) for pixel in range(64)]
    inputs = json.dumps({"inputs": [[float(f"{number:.2g}") for number in numbers]]}, separators=(",", ":"))
    name = job.get("model", job["dataset"])
    return [
        f"{curl}{url}/v1/jobs {body}'{json.dumps(job)}'",
        f"{curl}'{url}/v1/jobs?limit=1'",
        f"{curl}{url}/v1/models/{name}/encode {body}'{inputs.replace('.0,', ',').replace('.0]', ']')}'",
    ]
