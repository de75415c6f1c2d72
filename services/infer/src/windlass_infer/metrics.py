"""What this service measures, for Prometheus: which model it serves, the queue, the batches.

Requests by route and status are measured by `windlass_core.serving`, for all services alike. Figures of a pod that has no model
yet are absent, not zero: an autoscaler that averages over pods must not see new ones as idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

# From a tiny network on one row to a large one on a full batch.
_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Measurements:
    """The instruments of one loaded model. Made when it is ready."""

    queue_seconds: Histogram
    compute_seconds: Histogram
    batch_rows: Histogram
    waiting_rows: Gauge
    shed: Counter
    failures: Counter

    @classmethod
    def register(cls, registry: CollectorRegistry = REGISTRY) -> "Measurements":
        """New instruments in `registry`; once a registry."""
        return cls(
            queue_seconds=Histogram(
                "windlass_infer_queue_seconds",
                "Time that a request waited until the engine took it.",
                buckets=_SECONDS,
                registry=registry,
            ),
            compute_seconds=Histogram(
                "windlass_infer_compute_seconds", "Time that the engine took for a batch.", buckets=_SECONDS, registry=registry
            ),
            batch_rows=Histogram("windlass_infer_batch_rows", "Rows in a batch.", buckets=_ROWS, registry=registry),
            waiting_rows=Gauge(
                "windlass_infer_rows_in_flight", "Rows that wait for the engine or are being computed.", registry=registry
            ),
            shed=Counter("windlass_infer_shed", "Requests refused because too much was waiting.", registry=registry),
            failures=Counter("windlass_infer_engine_failures", "Runs of the engine that raised.", registry=registry),
        )


def announce_model(labels: Sequence[tuple[str, str]], registry: CollectorRegistry = REGISTRY) -> None:
    """Say in the metrics which model this process serves."""
    names = [name for name, _ in labels]
    info = Gauge("windlass_infer_model_info", "The version that is served; always 1.", names, registry=registry)
    info.labels(*(value for _, value in labels)).set(1)
