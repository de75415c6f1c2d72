"""What follows when serving processes die: how soon one is started anew, and when it is enough. Pure."""

# Deaths in a row after which the pod ends: the fault is then not of a moment, and the pod's own restart is seen.
MAX_DEATHS = 7
# So long without a death ends a row. No window in which deaths are counted: one that is slow to die, because it hangs or loads
# a large model first, would be started anew for ever.
QUIET_SECONDS = 300.0
# Pause before a process is started anew: none after the first death of a row, then this much, doubled with each.
FIRST_PAUSE_SECONDS = 0.25


class Deaths:
    """Of all processes of a pod, in a row."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0

    def __len__(self) -> int:
        return self._count

    def next_start(self, now: float) -> float | None:
        """A process died.

        Args:
            now: seconds of any clock that only goes forward.

        Returns:
            Seconds until it is to be started anew; None when there were too many.
        """
        self._count = self._count + 1 if now - self._last <= QUIET_SECONDS else 1
        self._last = now
        if self._count >= MAX_DEATHS:
            return None
        return 0.0 if self._count == 1 else FIRST_PAUSE_SECONDS * 2 ** (self._count - 2)
