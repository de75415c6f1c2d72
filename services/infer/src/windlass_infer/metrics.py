"""What this service measures, for Prometheus: which model it serves, the queue, the batches.

Requests by route and status are measured by `windlass_core.serving`, for all services alike. Figures of a pod that has no model
yet are absent, not zero: an autoscaler that averages over pods must not see new ones as idle.
"""

from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from windlass_infer.predictor import ServedVersion

# From a tiny network on one row to a large one on a full batch.
SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Measurements:
    """The instruments of one loaded model."""

    queue_seconds: Histogram
    compute_seconds: Histogram
    batch_rows: Histogram
    rows_in_flight: Gauge
    shed: Counter
    failures: Counter

    @classmethod
    def register(cls, version: ServedVersion, platform: str, registry: CollectorRegistry = REGISTRY) -> "Measurements":
        """New instruments in `registry`, and which model they are of. Once a registry."""
        labels = {
            "name": version.name,
            "model": version.model,
            "version": str(version.number),
            "digest": version.digest,
            "platform": platform,
        }
        info = Gauge("windlass_infer_model_info", "The version that is served; always 1.", list(labels), registry=registry)
        info.labels(**labels).set(1)
        return cls(
            queue_seconds=_seconds("queue", "Time that a request waited until the engine took it.", registry),
            compute_seconds=_seconds("compute", "Time that the engine took for a batch.", registry),
            batch_rows=Histogram("windlass_infer_batch_rows", "Rows in a batch.", buckets=ROWS, registry=registry),
            rows_in_flight=Gauge(
                "windlass_infer_rows_in_flight", "Rows that wait for the engine or are being computed.", registry=registry
            ),
            shed=Counter("windlass_infer_shed", "Requests refused because too much was asked at once.", registry=registry),
            failures=Counter("windlass_infer_engine_failures", "Runs of the engine that raised.", registry=registry),
        )


def _seconds(name: str, sentence: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(f"windlass_infer_{name}_seconds", sentence, buckets=SECONDS, registry=registry)
