"""Text that ends where memory ends: what is behind it is not touched, or the process would die of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

UNITS = [
    *("5,", "0.25,", "-12.5,", "0.1234567890123456789,", "1e5,", "1234567890,", " ", "-", "[", "1.", "1e-"),
    *(begins + "0" * 399 for begins in ("", "0.", "1e", "-1.5E+", "7e-")),
]
AT_THE_EDGE = """
import ctypes, mmap, sys
import numpy as np
from service.serving.codecs.json_kernel import COUNTS, scan

page = mmap.PAGESIZE
memory = mmap.mmap(-1, 2 * page)
whole = np.frombuffer(memory, np.uint8)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mprotect(ctypes.c_void_p(whole.ctypes.data + page), page, 0) == 0
for number, unit in enumerate(sys.argv[1:]):
    for length in range(200, 400):
        whole[page - length : page] = np.frombuffer((b"[" + unit.encode() * 400)[:length], np.uint8)
        view = whole[page - length : page]
        view.flags.writeable = False
        scan(view, 0, np.empty(1000, np.float32), np.zeros(1, np.int64), np.zeros(COUNTS + 1, np.int64))
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no mprotect")
def test_nothing_behind_the_text_is_read() -> None:
    ran = subprocess.run([sys.executable, "-c", AT_THE_EDGE, *UNITS], capture_output=True, text=True)
    assert [int(line) for line in ran.stdout.split()] == list(range(len(UNITS))), ran.stderr
