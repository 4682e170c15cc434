"""The series of several gateway processes on one port: whichever is asked answers for all of them.

Every process writes its own series to a file of a common folder each second; a scrape adds up its own, as
they are now, and the files of the others. What a process that has ended had counted stays counted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

SUFFIX = ".prom"
SECONDS = 1.0

# When each was first counted: nothing that could be added up.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Siblings:
    """This process among those that share its port.

    Args:
        render: this process's own series, as exposition text.
        folder: where the processes write theirs; None where there is only this one.
        pid: of this process.
    """

    def __init__(self, render: Callable[[], bytes], folder: Path | None, pid: int | None = None) -> None:
        self._render, self._folder = render, folder
        self._own = f"{os.getpid() if pid is None else pid}{SUFFIX}"

    async def run(self) -> None:
        """Write this process's series now and again, until cancelled."""
        while self._folder is not None:
            self.write()
            await asyncio.sleep(SECONDS)

    def write(self) -> None:
        """Write this process's series for the others to read."""
        if self._folder is not None:
            new = self._folder / f"{self._own}.new"
            new.write_bytes(self._render())
            new.replace(self._folder / self._own)

    def render(self) -> bytes:
        """The exposition text of all processes together."""
        own = self._render()
        others = [] if self._folder is None else list(self._others(self._folder))
        if not others:
            return own
        registry = CollectorRegistry()
        registry.register(_Sum([list(text_string_to_metric_families(own.decode())), *others]))
        return generate_latest(registry)

    def _others(self, folder: Path) -> Iterator[list[Metric]]:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if path.name == self._own:
                continue
            families = list(text_string_to_metric_families(path.read_text()))
            if not _lives(int(path.stem)):
                # What it counted did happen; what it held it holds no longer.
                families = [family for family in families if family.type != "gauge"]
            yield families


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class _Sum(Collector):
    """The families of several processes, sample by sample added up."""

    def __init__(self, processes: Iterable[list[Metric]]) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        values: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
        for family in (family for families_of in self._processes for family in families_of):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                key = (family.name, sample.name, tuple(sample.labels.items()))
                values[key] = values.get(key, 0.0) + sample.value
        for (family_name, name, labels), value in values.items():
            families[family_name].add_sample(name, dict(labels), value)
        yield from families.values()
