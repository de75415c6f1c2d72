"""What the load generator is told and what it tells: values that travel between two processes.

Imports next to nothing, because the generator starts with it.
"""

from array import array
from dataclasses import dataclass, field


def doubles() -> "array[float]":
    """An empty array of floats: a million latencies in 8 MB."""
    return array("d")


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes:
        requests: whole requests as bytes; sent in turn.
        warm_up: seconds at the start that do not count.
        seconds: that count.
        arrivals: seconds from the start at which requests go out (open loop); None: each connection sends its next request when
            the answer to the last has come (closed loop).
        sample_every: of the answers that count, every so-manieth is kept whole.
        limit: closed loop: so many requests in all, however long it takes.
    """

    port: int
    requests: list[bytes]
    connections: int
    warm_up: float
    seconds: float
    arrivals: "array[float] | None" = None
    sample_every: int = 100
    limit: int | None = None


@dataclass
class Measured:
    """What came of it.

    Attributes:
        seconds: that were counted.
        latencies: seconds of each answer with status 200; open loop: from its scheduled time.
        refused: seconds of each answer with another status, but for those that say that it has become too late.
        statuses: how many answers with each; 0 for those that never came.
        lags: open loop: seconds by which the generator itself was late with each request.
        waited_for_connection: requests that came due while every connection was busy.
        cpu_seconds: of the generator.
        samples: number of the request and the whole answer.
    """

    seconds: float = 0.0
    latencies: "array[float]" = field(default_factory=doubles)
    refused: "array[float]" = field(default_factory=doubles)
    statuses: dict[int, int] = field(default_factory=dict)
    lags: "array[float]" = field(default_factory=doubles)
    waited_for_connection: int = 0
    cpu_seconds: float = 0.0
    samples: list[tuple[int, bytes]] = field(default_factory=list)
