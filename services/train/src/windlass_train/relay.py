"""Passes what the first worker of a pod tells on to the pod's /progress and /metrics."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from windlass_core.contracts import Progress
from windlass_core.run import ProgressBoard
from windlass_train.reports import Reports

# Short against what a person watches; reading a small file costs microseconds.
RELAY_SECONDS = 0.2

_GAUGES = {
    "step": Gauge("windlass_train_step", "Updates done."),
    "steps": Gauge("windlass_train_steps", "Updates in all, if no early stop comes."),
    "epoch": Gauge("windlass_train_epoch", "Passes over the training split done."),
    "loss": Gauge("windlass_train_loss", "Loss on the training split, mean of the last updates."),
    "samples_per_second": Gauge("windlass_train_samples_per_second", "Rows learned from per second, over all workers."),
}


@contextmanager
def relayed(reports: Reports, board: ProgressBoard) -> Iterator[None]:
    """Passes progress on while the block runs."""
    done = threading.Event()

    def relay() -> None:
        told: Progress | None = None
        while not done.wait(RELAY_SECONDS):
            progress = reports.progress()
            if progress is not None and progress != told:
                told = progress
                pass_on(progress, board)

    thread = threading.Thread(target=relay, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def pass_on(progress: Progress, board: ProgressBoard) -> None:
    """Show a progress on the board and in the gauges; what a worker that starts anew cannot tell yet stays as it was."""
    fields = {name: value for name, value in progress if value is not None or name == "eta_seconds"}
    board.update(**fields)
    for name, gauge in _GAUGES.items():
        if name in fields:
            gauge.set(fields[name])
