"""Memory that large bodies took stays in the process for the next ones."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.system.house import ROOT, clean_environment

PAGES_A_ROUND = 10 * 4_000_000 // 4096
SCRIPT = """
import resource, sys
import numpy as np
from cli.serve import keep_memory

if sys.argv[1] == "kept":
    keep_memory()

def work():
    held = [np.ones(1_000_000, np.float32) for _ in range(10)]

work()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
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

    assert faults("kept") < PAGES_A_ROUND / 10
    # Else there would be nothing to keep, and this would tell nothing.
    assert faults("given back") > PAGES_A_ROUND
