"""How a child ends: the exit statuses by which `worker.run` tells its parent what became of the job."""

from __future__ import annotations


class Left(Exception):
    """The parent wished the attempt to leave, and what there was to keep is kept."""


#: The row says how the job ended; there is nothing left to do.
FINISHED = 0
#: `python -m worker.run` was called with arguments that name no attempt.
WRONG_CALL = 2
#: The database or the files stayed away; the job is to be tried again, and the attempt counts as lost.
UNREACHABLE = 74
#: Asked to leave: what there was to keep is kept in a checkpoint, and the row waits to be given back.
LEFT = 75
#: Another attempt has this job by now; nothing more was written.
FENCED = 76
#: The row says that the job waits for the others of its study; there is nothing left to do.
PAUSED = 77
