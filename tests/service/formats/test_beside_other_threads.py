"""A body is read whatever other threads do meanwhile: loaders read arrays of their own all the time."""

from __future__ import annotations

import ast
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from service.serving import codecs
from service.serving.codecs import Expected
from tests.service.formats.written import npy

LATEST_COLLECTION = 300


@contextmanager
def another_thread_parses_at_collections() -> Iterator[None]:
    """Have every collection of garbage switch to a thread that parses Python, as a model's end can."""

    def switch(phase: str, _: dict[str, int]) -> None:
        if phase == "start" and threading.current_thread() is here:
            other = threading.Thread(target=ast.literal_eval, args=("{'shape': (16, 64)}",))
            other.start()
            other.join()

    here, before = threading.current_thread(), gc.get_threshold()
    gc.collect()
    gc.freeze()  # what is there already need not be looked through hundreds of times
    gc.callbacks.append(switch)
    try:
        yield
    finally:
        gc.callbacks.remove(switch)
        gc.set_threshold(*before)
        gc.unfreeze()


def test_an_npy_body_is_read_while_another_thread_parses() -> None:
    rows = np.arange(128, dtype=np.float32).reshape(2, 64)
    body, expected = npy(rows), Expected(64, (64,))
    with another_thread_parses_at_collections():
        for allocations in range(1, LATEST_COLLECTION):
            gc.collect()
            gc.set_threshold(allocations)
            np.testing.assert_array_equal(codecs.decode(body, codecs.NPY, expected).rows, rows)
            gc.set_threshold(0)
