"""What the environment and `.env` say: refused in a line that names the variable, shown with its source."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from cli.errors import Refused
from service.settings import ServiceSettings
from store import StoreSettings
from worker.settings import WorkerSettings

PREFIX = "HOURGLASS_"
DOTENV = Path(".env")
KINDS: tuple[type[BaseSettings], ...] = (StoreSettings, ServiceSettings, WorkerSettings)

S = TypeVar("S", bound=BaseSettings)


@dataclass(frozen=True)
class Settings:
    """The settings of all processes, as this process's environment has them."""

    store: StoreSettings
    service: ServiceSettings
    worker: WorkerSettings


@dataclass(frozen=True)
class Line:
    """One setting as `hourglass settings` shows it."""

    name: str
    value: str
    source: str
    meaning: str


def read_settings() -> Settings:
    """All settings.

    Raises:
        Refused: a variable is wrong, or unknown; the line names it.
    """
    _refuse_unknown()
    return Settings(_read(StoreSettings), _read(ServiceSettings), _read(WorkerSettings))


def settings_lines(settings: Settings) -> Iterator[Line]:
    """Every setting once, with its value, where that comes from, and what it means."""
    environment, dotenv = _named(os.environ), _named(dotenv_values(DOTENV))
    seen: set[str] = set()
    for each in (settings.store, settings.service, settings.worker):
        for field, info in type(each).model_fields.items():
            if field in seen:
                continue
            seen.add(field)
            name = PREFIX + field.upper()
            source = "environment" if name in environment else ".env" if name in dotenv else "default"
            yield Line(name, _shown(getattr(each, field)), source, info.description or "")


def private_folder(folder: Path) -> None:
    """Make a data folder that only its owner reads, and see that it can be written.

    Raises:
        Refused: it cannot.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Refused(
            f"cannot write to the data folder {folder} ({error.strerror}); "
            "set HOURGLASS_HOME to one that you may write to"
        ) from None


def _read(kind: type[S]) -> S:
    try:
        return kind()
    except ValidationError as error:
        raise Refused("; ".join(_complaint(each) for each in error.errors())) from None
    except SettingsError as error:  # a list that is no JSON; pydantic says which field only in words
        named = [field for field in kind.model_fields if f'"{field}"' in str(error)]
        raise Refused(
            f'{PREFIX}{named[0].upper() if named else "…"}: must be JSON, such as ["a", "b"]'
        ) from None


def _complaint(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:  # about several together: the message names them as fields
        return re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda found: PREFIX + found[0].upper(), message)
    field, *place = error["loc"]
    name = PREFIX + str(field).upper()
    where = "".join(f"[{part}]" for part in place)
    given = error.get("input")
    # What stands in a secret is not repeated, whatever is wrong with it; nor is a whole set of values.
    told = f"={given}" if isinstance(given, str | int | float) and not _is_secret(str(field)) else ""
    return f"{name}{where}{told}: {message[:1].lower()}{message[1:]}"


def _is_secret(field: str) -> bool:
    infos = [kind.model_fields[field] for kind in KINDS if field in kind.model_fields]
    return any("Secret" in str(info.annotation) for info in infos) or field.endswith("_url")


def _refuse_unknown() -> None:
    known = {PREFIX + field.upper() for kind in KINDS for field in kind.model_fields}
    for source, names in (("the environment", _named(os.environ)), (".env", _named(dotenv_values(DOTENV)))):
        for name in sorted(names - known):
            # Without the prefix, which would make all of them alike.
            bare = [each.removeprefix(PREFIX) for each in known]
            close = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
            hint = f"; did you mean {PREFIX}{close[0]}?" if close else "; `hourglass settings` lists all"
            raise Refused(f"{name} in {source} is no setting{hint}")


def _named(values: Any) -> set[str]:
    return {name.upper() for name in values if name.upper().startswith(PREFIX)}


def _shown(value: object) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, SecretStr):
        return "(set, hidden)" if value.get_secret_value() else "(empty)"
    if isinstance(value, list | tuple):
        return ",".join(_shown(each) for each in value) or "(none)"
    text = str(value)
    if "://" in text and (parts := urlsplit(text)).password:
        netloc = parts.netloc.replace(f":{parts.password}@", ":***@")
        return urlunsplit(parts._replace(netloc=netloc))
    return text
