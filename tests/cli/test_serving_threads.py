"""A gateway's arithmetic outside of its engine has one thread: others would spin on the engine's cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys

SCRIPT = """
import json
from cli.serve import keep_threads_quiet
keep_threads_quiet()
import numpy, threadpoolctl
numbers = numpy.ones(100_000)
numpy.vdot(numbers, numbers)
print(json.dumps([pool["num_threads"] for pool in threadpoolctl.threadpool_info()]))
"""


def test_looking_through_a_large_body_wakes_no_second_thread() -> None:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(said.stdout) == [1]
