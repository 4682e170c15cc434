"""The tutorial's app: FastAPI, a pydantic model of lists, a forward pass a request, no batching."""

from __future__ import annotations

import sys

import numpy as np
import uvicorn
from encoder import Encoder
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
encoder = Encoder()


class Rows(BaseModel):
    """The request's body."""

    inputs: list[list[float]]


@app.post("/encode")
def encode(rows: Rows) -> dict[str, list[list[float]]]:
    """Codes of rows."""
    return {"codes": encoder(np.array(rows.inputs, np.float32)).tolist()}


if __name__ == "__main__":
    uvicorn.run("naive:app", port=int(sys.argv[1]), workers=int(sys.argv[2]), access_log=False)
