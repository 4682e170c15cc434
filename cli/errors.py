"""What the person at the terminal did wrong, said in one line; other rooms' errors become it here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

REFUSED = 2
"""The exit code of a refusal: trying again will not help. A crash is 1, as Python has it."""


class Refused(Exception):
    """A mistake of the user's or of the machine's, such as a taken port; the message is one sentence."""


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Say a refusal, or an error that names its own cause, as one line on stderr, without a traceback.

    Raises:
        SystemExit: with `REFUSED`, after the line.
    """
    # The roots are light: none imports torch, so that `hourglass --help` stays quick.
    from autoencoders.errors import AutoencoderError
    from service.errors import SettingsRefused
    from store.errors import StoreError

    try:
        yield
    except (Refused, SettingsRefused, StoreError, AutoencoderError) as error:
        refuse(str(error) or type(error).__name__)
    except PermissionError as error:
        refuse(f"no permission for {error.filename}")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise SystemExit(130) from None


def refuse(line: str) -> None:
    """Print the line and leave.

    Raises:
        SystemExit: always.
    """
    print(f"hourglass: {' '.join(line.split())}", file=sys.stderr)
    raise SystemExit(REFUSED)
