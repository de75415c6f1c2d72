"""What follows when serving processes die: how soon one is started anew, and when it is enough. Pure."""

from collections import deque

# Deaths within the window after which the pod ends: the fault is then not of a moment, and the pod's own restart is seen.
MAX_DEATHS = 7
DEATH_WINDOW_SECONDS = 300.0
# Pause before a process is started anew: none after the first death in the window, then this much, doubled with each.
FIRST_PAUSE_SECONDS = 0.25


class Deaths:
    """Of all processes of a pod, within the window."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def __len__(self) -> int:
        return len(self._times)

    def next_start(self, now: float) -> float | None:
        """A process died.

        Args:
            now: seconds of any clock that only goes forward.

        Returns:
            Seconds until it is to be started anew; None when there were too many.
        """
        self._times.append(now)
        while self._times[0] < now - DEATH_WINDOW_SECONDS:
            self._times.popleft()
        deaths = len(self._times)
        if deaths >= MAX_DEATHS:
            return None
        return 0.0 if deaths == 1 else FIRST_PAUSE_SECONDS * 2 ** (deaths - 2)
