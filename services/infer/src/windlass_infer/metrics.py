"""What this service measures, for Prometheus and for the protocol's statistics: queue, batches, answers, refusals by version.

Requests by route and status are measured by `windlass_core.requests`, for all services alike. Figures of a pod that has no
model yet are absent, not zero: an autoscaler that averages over pods must not see new ones as idle.

Everything is counted on the event loop, in plain numbers: an observation of prometheus_client takes a lock and a microsecond
and a half, a tenth of what a small model takes, and there are several in a request. They become samples when asked for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from windlass_core.histograms import Histogram
from windlass_infer.predictor import ServedVersion

# From a tiny network on one row to a large one on a full batch.
SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_LABELS = ("name", "version")

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(slots=True)
class Duration:
    """How often something took how long in all; the pair that the protocol's statistics consist of."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count it."""
        self.count += count
        self.seconds += seconds


@dataclass(slots=True)
class BatchStatistics:
    """Runs of one batch size."""

    join: Duration = field(default_factory=Duration)
    run: Duration = field(default_factory=Duration)
    split: Duration = field(default_factory=Duration)


@dataclass
class Measurements:
    """The figures of one loaded version."""

    version: ServedVersion
    platform: str
    variant: str
    costs: Callable[[], tuple[float, float]]  # seconds per row and per batch, as fitted now
    queue_seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    compute_seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    request_seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    rows_in_flight: int = 0
    shed: Counter[str] = field(default_factory=Counter)  # by reason
    engine_failures: int = 0
    cache: dict[str, Duration] = field(default_factory=dict)  # lookups by result: hit, shared, miss
    failed: Duration = field(default_factory=Duration)
    batches: dict[int, BatchStatistics] = field(default_factory=dict)  # by rows
    rows: int = 0  # answered
    last_inference: float = 0.0  # seconds since the epoch

    @property
    def labels(self) -> tuple[str, str]:
        """Name and version, the labels of all its samples."""
        return self.version.name, str(self.version.number)


class ServiceMetrics(Collector):
    """Samples of all versions that are loaded now, and of the process.

    Args:
        versions: the figures of each version.
        process: gauges of the whole process: name after the prefix, sentence, value; none when it has no value yet.
        registry: where it is asked.
    """

    def __init__(
        self,
        versions: Callable[[], Iterable[Measurements]],
        process: Callable[[], Iterable[tuple[str, str, float]]],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._versions = versions
        self._process = process
        self._registry = registry
        registry.register(self)

    def close(self) -> None:
        """Be asked no more."""
        self._registry.unregister(self)

    def describe(self) -> Iterable[Family]:
        """Nothing: what there is depends on what is loaded."""
        return ()

    def collect(self) -> Iterator[Family]:
        """All families, or none while no version is loaded."""
        versions = list(self._versions())
        if not versions:
            return
        yield from _model_info(versions)
        yield from _histograms(versions)
        yield from _counters(versions)
        yield from _gauges(versions)
        for name, sentence, value in self._process():
            yield GaugeMetricFamily(f"windlass_infer_{name}", sentence, value)


def _model_info(versions: list[Measurements]) -> Iterator[Family]:
    labels = ("name", "model", "version", "digest", "platform", "engine")
    info = GaugeMetricFamily("windlass_infer_model_info", "A version that is served; always 1.", labels=labels)
    for measured in versions:
        version = measured.version
        names = (version.name, version.model, str(version.number), version.digest, measured.platform, measured.variant)
        info.add_metric(names, 1)
    yield info


def _histograms(versions: list[Measurements]) -> Iterator[Family]:
    for name, sentence in (
        ("queue_seconds", "Time that a request waited until the engine took it."),
        ("compute_seconds", "Time that the engine took for a batch."),
        ("request_seconds", "Time from a request's body to its answer, by a program or from the cache."),
        ("batch_rows", "Rows in a batch."),
    ):
        family = HistogramMetricFamily(f"windlass_infer_{name}", sentence, labels=_LABELS)
        for measured in versions:
            histogram: Histogram = getattr(measured, name)
            family.add_metric(measured.labels, histogram.buckets(), histogram.sum)
        yield family


def _counters(versions: list[Measurements]) -> Iterator[Family]:
    failures = CounterMetricFamily("windlass_infer_engine_failures", "Runs of the engine that raised.", labels=_LABELS)
    shed = CounterMetricFamily(
        "windlass_infer_shed", "Requests refused because too much was asked at once.", labels=(*_LABELS, "reason")
    )
    cache = CounterMetricFamily(
        "windlass_infer_cache_lookups", "Questions looked up among the answers kept.", labels=(*_LABELS, "result")
    )
    for measured in versions:
        failures.add_metric(measured.labels, measured.engine_failures)
        for reason in SHED_REASONS:
            shed.add_metric((*measured.labels, reason), measured.shed[reason])
        for result, lookups in measured.cache.items():
            cache.add_metric((*measured.labels, result), lookups.count)
    yield from (failures, shed, cache)


def _gauges(versions: list[Measurements]) -> Iterator[Family]:
    in_flight = GaugeMetricFamily(
        "windlass_infer_rows_in_flight", "Rows that wait for the engine or are being computed.", labels=_LABELS
    )
    per_row = GaugeMetricFamily(
        "windlass_infer_seconds_per_row", "What each row adds to the time of a batch, as measured lately.", labels=_LABELS
    )
    per_batch = GaugeMetricFamily(
        "windlass_infer_seconds_per_batch", "What a batch takes beside its rows, as measured lately.", labels=_LABELS
    )
    for measured in versions:
        row, batch = measured.costs()
        in_flight.add_metric(measured.labels, measured.rows_in_flight)
        per_row.add_metric(measured.labels, row)
        per_batch.add_metric(measured.labels, batch)
    yield from (in_flight, per_row, per_batch)


# Why a request was shed. At the door: what is in flight fills the bounds. Queue: too many rows wait. Deadline: it would not be
# answered in time. Late: it was taken in, and then it was too late for it.
SHED_REASONS = ("door", "queue", "deadline", "late")
