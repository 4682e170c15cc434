"""The bounded child process that reads an upload: `python -m autoencoders.data.read_upload`.

The request is one JSON object, as the only argument or on standard input: `source` (a file) and perhaps
`format`, or `sample` (a choice); `destination`; `options`. The manifest's JSON is the answer on standard
output. What is refused answers `{"message", "row", "column"}` and ends with exit code 3.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from autoencoders.data.manifest import Manifest
from autoencoders.data.options import ReadOptions
from autoencoders.data.readers import read
from autoencoders.data.samples import samples, write_sample
from autoencoders.errors import DataRefused, UnknownWord

REFUSED = 3


class ReadRequest(BaseModel):
    """What the child is asked for: a file to read, or a sample to make."""

    model_config = ConfigDict(extra="forbid")

    destination: Path
    source: Path | None = None
    format: str | None = None
    sample: str | dict[str, Any] | None = None
    options: ReadOptions = ReadOptions()


def answer(request: ReadRequest) -> Manifest:
    """Do what is asked.

    Raises:
        DataRefused: the upload cannot become a dataset.
    """
    if request.sample is not None:
        return write_sample(samples.choose(request.sample), request.destination, request.options)
    if request.source is None:
        raise DataRefused("there is neither a file to read nor a sample to make")
    return read(
        request.source, format=request.format, destination=request.destination, options=request.options
    )


def main(arguments: list[str]) -> int:
    """Answer the request of the command line or of standard input; the exit code."""
    text = arguments[0] if arguments else sys.stdin.read()
    try:
        manifest = answer(ReadRequest.model_validate_json(text))
    except DataRefused as refusal:
        return _refuse(refusal.message, refusal.row, refusal.column)
    except (ValidationError, UnknownWord) as error:
        return _refuse(f"the request is wrong: {error}")
    except MemoryError:
        return _refuse("reading it needs more memory than an upload may use")
    sys.stdout.write(manifest.model_dump_json() + "\n")
    return 0


def _refuse(message: str, row: int | None = None, column: str | int | None = None) -> int:
    sys.stdout.write(json.dumps({"message": message, "row": row, "column": column}) + "\n")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
