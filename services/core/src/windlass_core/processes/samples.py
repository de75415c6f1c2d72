"""Metrics of several processes as one.

Counters and histograms are added up, and those of a process that died, as far as they were known, stay in the sum: a counter
that fell would look like a restart to Prometheus, and like a burst to whoever scales by its rate. prometheus_client's own way
for several processes keeps every value in a mapped file; it takes no collectors of one's own and makes observations dearer.

Pure; knows metrics as JSON has them, and no library: `collectors.py` makes snapshots and shows them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Name, help, type and unit of a metric, and its samples as [name, labels, value].
Family = dict[str, Any]
Snapshot = list[Family]

# What several processes have of a gauge is their sum, but for these endings of its name.
_GAUGES: Sequence[tuple[str, Callable[[Sequence[float]], float]]] = (
    ("_info", max),
    ("_ratio", lambda values: sum(values) / len(values)),
    ("_start_time_seconds", min),
    ("_max_fds", min),
)
_COUNTED = frozenset({"counter", "histogram", "summary"})
# When a child of a metric was made; the oldest counts.
_CREATED = "_created"


class Merge:
    """Adds up the snapshots of processes, by name."""

    def __init__(self) -> None:
        self._last: dict[str, Snapshot] = {}
        self._retired: list[Snapshot] = []

    def retire(self, process: str) -> None:
        """A process has died: keep what it had counted when it was last heard."""
        if last := self._last.pop(process, None):
            counted = [family for family in last if family["type"] in _COUNTED]
            self._retired = [merged([*self._retired, counted])]

    def update(self, snapshots: Mapping[str, Snapshot]) -> Snapshot:
        """All processes as one; those that did not answer count with what they last said."""
        self._last.update(snapshots)
        return merged([*self._retired, *self._last.values()])


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Several snapshots as one."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
    for family in (family for one in snapshots for family in one):
        families.setdefault(family["name"], family)
        of_family = values.setdefault(family["name"], {})
        for name, labels, value in family["samples"]:
            of_family.setdefault((name, tuple(sorted(labels.items()))), []).append(value)
    return [
        family
        | {
            "samples": [
                [sample, dict(labels), _rule(family, sample)(found)] for (sample, labels), found in values[name].items()
            ]
        }
        for name, family in families.items()
    ]


def _rule(family: Family, sample: str) -> Callable[[Sequence[float]], float]:
    if sample.endswith(_CREATED):
        return min
    if family["type"] == "info":
        return max
    if family["type"] == "gauge":
        return next((rule for ending, rule in _GAUGES if sample.endswith(ending)), sum)
    return sum
