"""What a training pod is: its part in the group, from the environment, and how many processes it runs.

The variables that torch elastic sets for workers are read by those (worker.py, group.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from windlass_core.contracts import RENDEZVOUS_PORT, RUN_PORT, TrainRun
from windlass_core.errors import BadConfiguration


@dataclass(frozen=True)
class Pod:
    """One pod of a run.

    Attributes:
        index: JOB_COMPLETION_INDEX, set by Kubernetes; the pod with index 0 hosts the rendezvous.
        address: POD_IP, by which the other pods reach this one; None outside a cluster.
        rendezvous_port: WINDLASS_RENDEZVOUS_PORT, where several runs share one machine.
        run_port: WINDLASS_RUN_PORT, of /progress, where several pods share one machine.
    """

    index: int
    address: str | None
    rendezvous_port: int
    run_port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Pod":
        """Raises BadConfiguration for a number that is none."""
        return cls(
            index=_number(environment, "JOB_COMPLETION_INDEX", 0),
            address=environment.get("POD_IP") or None,
            rendezvous_port=_number(environment, "WINDLASS_RENDEZVOUS_PORT", RENDEZVOUS_PORT),
            run_port=_number(environment, "WINDLASS_RUN_PORT", RUN_PORT),
        )


def process_count(run: TrainRun) -> int:
    """Worker processes of one pod: one for each GPU, else one."""
    return run.spec.resources.gpu.count if run.spec.resources.gpu else 1


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if text and not text.isdecimal():
        raise BadConfiguration(f"{name} must be a number, not '{text}'")
    return int(text) if text else default
