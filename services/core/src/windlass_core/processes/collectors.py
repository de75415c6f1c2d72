"""Metrics of this process as values that can travel, and values as something that prometheus_client can show."""

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from windlass_core.processes.samples import Snapshot


def snapshot(collector: Collector) -> Snapshot:
    """All that a registry or a collector has now."""
    return [
        {
            "name": family.name,
            "help": family.documentation,
            "type": family.type,
            "unit": family.unit,
            "samples": [[sample.name, sample.labels, sample.value] for sample in family.samples],
        }
        for family in collector.collect()
    ]


def as_registry(families: Snapshot) -> Collector:
    """Something that `prometheus_client`'s encoders take."""
    return _Merged(families)


class _Merged(Collector):
    def __init__(self, families: Snapshot) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family["name"], family["help"], family["type"], family["unit"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, labels, value)
            yield metric
