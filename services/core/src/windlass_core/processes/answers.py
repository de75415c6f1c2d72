"""How the answers of all processes become the pod's, for the questions that every pod is asked.

Used by the parent. Pure but for what must be remembered: whether the pod was ready, and what processes that died have counted.
"""

from collections.abc import Mapping
from typing import Any

from windlass_core.processes.samples import Merge, Snapshot

PRESENT = "present"
READY = "ready"
METRICS = "metrics"
ALIVE = "alive"
HEALTH_TOPICS = frozenset({READY, METRICS, ALIVE})


class PodAnswers:
    """The answers of a pod of so many processes."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._was_ready = False
        self._metrics = Merge()
        self._deaths = 0
        self._moved = 0

    def died(self, process: str) -> None:
        """A process has died that was not told to end."""
        self._deaths += 1
        self._metrics.retire(process)

    def moved(self, connections: int) -> None:
        """So many connections go from a process that is asked for more than it can do to another."""
        self._moved += connections

    def of(self, topic: str, answers: Mapping[str, Any]) -> Any:
        """One answer for READY and METRICS, else the list of all, in the order of the processes.

        Args:
            topic: what was asked.
            answers: by process; those that did not answer in time are missing.
        """
        if topic == READY:
            return self._ready(answers)
        if topic == METRICS:
            return [*self._metrics.update(answers), *self._own(len(answers))]
        return [answers[process] for process in sorted(answers, key=int)]

    def _ready(self, answers: Mapping[str, str | None]) -> str | None:
        """None, or why the pod is not ready.

        Ready for the first time when all processes are. Later one is enough: while another comes back, taking the pod away
        would cost what is left of it.
        """
        reasons = [reason for reason in answers.values() if reason is not None]
        ready = len(answers) - len(reasons)
        if ready == self._count or (self._was_ready and ready):
            self._was_ready = True
            return None
        return next(iter(reasons), f"{self._count - len(answers)} of {self._count} processes are starting")

    def _own(self, alive: int) -> Snapshot:
        return [
            _family("windlass_processes", "Serving processes of this pod that answer.", "gauge", "windlass_processes", alive),
            _family(
                "windlass_process_deaths",
                "Serving processes of this pod that ended without being told to.",
                "counter",
                "windlass_process_deaths_total",
                self._deaths,
            ),
            _family(
                "windlass_connections_moved",
                "Connections that went from a process of this pod that refused requests to one that did not.",
                "counter",
                "windlass_connections_moved_total",
                self._moved,
            ),
        ]


def _family(name: str, sentence: str, kind: str, sample: str, value: float) -> dict[str, Any]:
    return {"name": name, "help": sentence, "type": kind, "unit": "", "samples": [[sample, {}, value]]}
