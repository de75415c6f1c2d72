"""Histograms that cost little to observe: plain numbers, counted on one thread, which become samples when they are asked for.

An observation of prometheus_client takes two locks and three times as long, which shows where a request takes a hundred
microseconds. Knows nothing of what is measured.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Histogram:
    """Counts by bucket, and their sum. Used on one thread."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Counts up to each bound, as Prometheus has them."""
        total, buckets = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            name: str = floatToGoString(bound)  # type: ignore[no-untyped-call]  # as prometheus_client names its own
            buckets.append((name, float(total)))
        return buckets


class Histograms(Collector):
    """Histograms of one name, by labels.

    Args:
        name: of the metric.
        documentation: one sentence.
        labels: their names.
        bounds: of the buckets, ascending.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: tuple[float, ...]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = bounds
        self._by_labels: dict[tuple[str, ...], Histogram] = {}

    def of(self, labels: tuple[str, ...]) -> Histogram:
        """The histogram of these values of the labels; of a new one when there was none."""
        found = self._by_labels.get(labels)
        if found is None:
            found = self._by_labels[labels] = Histogram(self._bounds)
        return found

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """One family, as Prometheus has it."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, histogram in list(self._by_labels.items()):
            family.add_metric(labels, histogram.buckets(), histogram.sum)
        yield family
