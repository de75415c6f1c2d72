"""Where the requests of one size run: on the event loop while their batches take microseconds, else on the engine thread.

Knows no request.
"""

from dataclasses import dataclass

from windlass_infer.lanes.runners import EngineLane, Runner, Runners
from windlass_infer.scheduling.costs import CostModel

# A batch that takes no longer runs on the event loop. A process has about one core, so a thread beside the loop would not
# compute at the same time, only take turns with it, and each turn costs up to 5 ms of waiting for Python's lock; 2 ms is also
# the longest that a probe or another model's answer waits for it.
INLINE_SECONDS = 0.002
# It must not cost throughput: batches that are kept short reach this share of the rate of full ones.
INLINE_RATE = 0.9
# A bucket on the loop leaves it only above this multiple, so that one at the border does not go to and fro.
INLINE_STAYS = 1.5


@dataclass(slots=True)
class Bucket:
    """Requests of one size: their lane, and what runs it now."""

    lane: EngineLane
    runner: Runner

    @property
    def idle(self) -> bool:
        """Whether nothing of it waits or runs."""
        return self.runner.idle(self.lane)

    def place(self, runners: Runners, max_batch_rows: int) -> None:
        """Put the bucket, which is idle, on the loop or on the thread, as its costs are now."""
        inline: Runner = runners.inline
        rows = _inline_rows(self.lane.costs, max_batch_rows, stays=self.runner is inline)
        runner = inline if rows else runners.thread
        self.lane.queue.max_batch_rows = rows or max_batch_rows
        if runner is not self.runner:
            self.runner.remove(self.lane)
            self.runner = runner
            runner.add(self.lane)


def _inline_rows(costs: CostModel, max_batch_rows: int, *, stays: bool) -> int:
    """Rows of a batch that may run on the event loop; 0 when batches must not."""
    seconds = INLINE_SECONDS * (INLINE_STAYS if stays else 1.0)
    rows = min(costs.rows_within(seconds), max_batch_rows)
    return rows if rows and costs.rate(rows) >= INLINE_RATE * costs.rate(max_batch_rows) else 0
