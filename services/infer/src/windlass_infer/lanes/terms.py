"""What a request asks of the time of its answer. Knows no queue and no protocol."""

from dataclasses import dataclass

from windlass_infer.scheduling.queue import Priority


@dataclass(frozen=True, slots=True)
class Terms:
    """When an answer must be there, and before whose.

    Args:
        deadline: in seconds of `time.perf_counter`; None: whenever.
        own_deadline: the caller named it, it is not the server's.
        priority: batch work waits for all others.
        let_in: by this deadline one row was let in before its body was read: it is not judged again.
    """

    deadline: float | None = None
    own_deadline: bool = False
    priority: Priority = Priority.INTERACTIVE
    let_in: bool = False


WHENEVER = Terms()
