"""Memory that large bodies took stays in the process for the next ones."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.system.house import ROOT, clean_environment

ROUNDS, ARRAYS = 5, 10
SCRIPT = f"""
import resource, sys
import numpy as np
from cli.serve import keep_memory

if sys.argv[1] == "kept":
    keep_memory()

def work():
    held = [np.ones(1_000_000, np.float32) for _ in range({ARRAYS})]

work()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_large_arrays_do_not_cost_a_fault_for_each_page_again_and_again() -> None:
    def faults(how: str) -> int:
        said = subprocess.run(
            [sys.executable, "-c", SCRIPT, how],
            cwd=ROOT,
            env=clean_environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return int(said.stdout)

    # How many pages there are is the system's matter; without any to give back this would tell nothing.
    given_back = faults("given back")
    assert given_back > ROUNDS * ARRAYS
    assert faults("kept") < given_back / 5
