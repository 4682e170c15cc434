"""Counters that one thread writes and any thread reads: no lock and no search where they are counted.

A Prometheus client's own counter takes a lock for every step, which on the way of a request that is answered
in a tenth of a millisecond adds up to a tenth of it. These are written by the event loop's thread alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry


class Tally:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1.0) -> None:
        """Count."""
        self.value += by


class Spread:
    """Observations by size.

    Args:
        bounds: the upper bounds of the buckets, growing; one without a bound follows.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tallies(Collector):
    """A Prometheus counter made of tallies, one for each combination of labels.

    Args:
        name: of the series, without `_total`.
        about: its help text.
        labels: their names.
        registry: where it is scraped.
    """

    def __init__(self, name: str, about: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._about, self._names = name, about, tuple(labels)
        self._children: dict[tuple[str, ...], Tally] = {}
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        """The tally of these labels."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Tally()
        return child

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What a scrape reads."""
        family = CounterMetricFamily(self._name, self._about, labels=self._names)
        for values, tally in list(self._children.items()):
            family.add_metric(values, tally.value)
        yield family

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The family without samples."""
        yield CounterMetricFamily(self._name, self._about, labels=self._names)


class Spreads(Collector):
    """A Prometheus histogram made of spreads, one for each combination of labels; without labels, one.

    Args:
        name: of the series.
        about: its help text.
        labels: their names.
        bounds: the buckets' upper bounds.
        registry: where it is scraped.
    """

    def __init__(
        self,
        name: str,
        about: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._about, self._names, self._bounds = name, about, tuple(labels), tuple(bounds)
        self._children: dict[tuple[str, ...], Spread] = {}
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """The spread of these labels."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Spread(self._bounds)
        return child

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What a scrape reads."""
        family = HistogramMetricFamily(self._name, self._about, labels=self._names)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for values, spread in list(self._children.items()):
            buckets = list(zip(bounds, accumulate(spread.counts), strict=True))
            family.add_metric(values, buckets, spread.total)
        yield family

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The family without samples."""
        yield HistogramMetricFamily(self._name, self._about, labels=self._names)
