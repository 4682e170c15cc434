"""The child: `python -m worker.run JOB TOKEN`. Ties itself to its parent, then drives the attempt.

Until `begin` is imported this needs the standard library alone: what must be so before torch is imported,
and before a signal can arrive, is done here.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from worker import exits

_PR_SET_PDEATHSIG = 1
_USAGE = "usage: python -m worker.run JOB TOKEN\n  started by a worker, for a job that it has claimed"


class Wishes:
    """What the parent wishes, said by signals: SIGUSR1 to stop and publish, SIGTERM to leave."""

    def __init__(self) -> None:
        self.stop = False
        self.leave = False
        self.told: Callable[[], None] = lambda: None

    def listen(self) -> None:
        """Answer the signals from now on; those that came before were kept waiting by the parent."""
        signal.signal(signal.SIGUSR1, self._stop)
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGINT, self._leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT})

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop = True
        self.told()

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self.leave = True
        self.told()


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that ends: no orphan trains on."""
    watcher = os.environ.get("HOURGLASS_WATCHER", "")
    if not watcher.isdigit():
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        # Other systems have no such signal: a look at the parent's number each second comes close.
        threading.Thread(target=_outlive_no, args=(int(watcher),), daemon=True).start()
    # The parent may have gone before the lines above: then nobody will ever send that signal.
    if os.getppid() != int(watcher):
        os._exit(exits.FENCED)


def _outlive_no(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(exits.FENCED)


def offer_to_be_killed_first() -> None:
    """Where memory runs out, the training goes and its parent stays, to say so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def give_way(niceness: int) -> None:
    """Let whoever serves on the same cores go first."""
    os.nice(niceness)
    # Linux may weigh sessions before processes, and a child has a session of its own: then only this counts.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))


def refuse(message: str) -> NoReturn:
    """End with one line on standard error and the usage."""
    sys.stderr.write(f"worker.run: {message}\n{_USAGE}\n")
    sys.exit(exits.WRONG_CALL)


def main(arguments: list[str]) -> int:
    """Drive the attempt that the arguments name; the exit status tells the parent how it ended."""
    die_with_parent()
    wishes = Wishes()
    wishes.listen()
    if len(arguments) != 2:
        refuse(f"expected a job's id and a token, got {len(arguments)} arguments")
    job, token = arguments
    if not token.isdigit() or int(token) < 1:
        refuse(f"the token must be a positive number, not {token!r}")
    offer_to_be_killed_first()
    give_way(int(os.environ.get("HOURGLASS_CHILD_NICENESS", "0")))
    faulthandler.enable()

    from worker.begin import begin

    return begin(job, int(token), wishes)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written: taking torch and its threads apart in order would only cost a second.
    os._exit(status)
