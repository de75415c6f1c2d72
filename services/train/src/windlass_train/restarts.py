"""Whether the workers of a pod may start again after they ended: pure decisions on what they left.

for good (40, 41, 42, 43)   no: another try in this pod would end alike
stopped (44)                no, if this pod was asked to stop; else another pod was, and its replacement will come
called back                 yes: a new pod wants to join, and nobody here failed
anything else               yes, as often as the budget allows
"""

from collections.abc import Sequence

from windlass_core.errors import BadConfiguration, BadData, BadDevice, Stopped, UserCodeError, WindlassError
from windlass_train.reports import Outcome

_FOR_GOOD: dict[int, type[WindlassError]] = {
    error.exit_code: error for error in (BadConfiguration, BadData, UserCodeError, BadDevice)
}
_NO_ERROR = (
    "a worker process died without leaving an error: it was killed, or crashed outside of Python; "
    "if its memory was short, raise resources.memory"
)


class Restarts:
    """The budget of one pod.

    Args:
        most: crashes that it recovers from.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0

    def allow(self, outcomes: Sequence[Outcome], *, asked_to_stop: bool, called_back: bool) -> None:
        """Return if workers may start again.

        Args:
            outcomes: what the workers left, the first to end first; none for one that was killed.
            asked_to_stop: whether this pod was asked to stop.
            called_back: whether the agent itself ended its workers, because another pod wants to join.

        Raises:
            WindlassError: with what to say of the end of this pod.
        """
        for outcome in outcomes:
            if outcome.exit_code in _FOR_GOOD:
                raise _FOR_GOOD[outcome.exit_code](outcome.result.message, reason=outcome.result.reason)
        stopped = next((outcome for outcome in outcomes if outcome.exit_code == Stopped.exit_code), None)
        if asked_to_stop:
            raise Stopped(stopped.result.message if stopped else "the run was asked to stop")
        if stopped or called_back:
            return
        if self._used >= self._most:
            raise self._crash(outcomes)
        self._used += 1

    def _crash(self, outcomes: Sequence[Outcome]) -> WindlassError:
        failed = next((outcome.result for outcome in outcomes if outcome.exit_code != 0), None)
        after = f" (after {self._used} restarts)" if self._used else ""
        if failed is None:
            return WindlassError(f"{_NO_ERROR}{after}", reason="WorkerDied")
        return WindlassError(f"{failed.message}{after}", reason=failed.reason)
