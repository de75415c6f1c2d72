"""Whether the event loop of a serving process turns, by its answers to a question that is put to it again and again. Pure.

Counts questions without an answer and no time: while the parent itself is stopped, it asks nobody, and nobody grows silent.
"""

from dataclasses import dataclass

# How often each process is asked.
HEARTBEAT_SECONDS = 1.0
# Silent for longer, a process is given no connections, and health is told without it. Far above a turn of the event loop of a
# process that works: a garbage collection, a body of the largest size, a turn of others on a busy core.
SILENT_SECONDS = 3.0
# Silent for longer, a process is taken for dead. Loading a model runs on a thread, but to load a library for it may hold
# Python's lock while hundreds of megabytes are read from a cold disk.
HANG_SECONDS = 60.0
# Until the first word: the imports of a server, on a node that starts many.
START_SECONDS = 120.0


@dataclass
class Pulse:
    """Of one process.

    Attributes:
        spoken: it has said something, so that it serves.
        unanswered: questions since it last said something.
    """

    spoken: bool = False
    unanswered: int = 0

    @property
    def silent_seconds(self) -> float:
        """For how long it has not answered."""
        return self.unanswered * HEARTBEAT_SECONDS

    @property
    def answers(self) -> bool:
        """Whether it serves, as far as is known."""
        return self.spoken and self.silent_seconds <= SILENT_SECONDS

    def asked(self) -> None:
        """It was asked again."""
        self.unanswered += 1

    def heard(self) -> None:
        """It has said something, whatever it is."""
        self.spoken = True
        self.unanswered = 0

    def hangs(self, bound: float) -> bool:
        """Whether it is to be taken for dead; `bound` is in seconds, for a process that has spoken."""
        return self.silent_seconds > (bound if self.spoken else max(bound, START_SECONDS))
