"""`hourglass work`: a worker in this process, by the settings of the environment."""

from __future__ import annotations

from cli.environment import read_settings
from cli.errors import Refused


def work() -> int:
    """Take jobs until a signal ends it; the exit code comes back.

    Raises:
        Refused: a setting is wrong, or the device that it names is not here.
    """
    settings = read_settings().worker
    from worker.app import run
    from worker.devices import DeviceMissing

    try:
        return run(settings)
    except DeviceMissing as error:
        raise Refused(f"HOURGLASS_DEVICE: {error}") from None
