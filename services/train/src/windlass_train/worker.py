"""One worker process: loads, trains with its group, and lets the leader publish. Torch elastic starts it in a fresh fork.

What it has to say, it leaves in the files of `reports.py`; its exit code says what kind of end it was. Importing this module
imports torch and all that training needs, once, in the server that workers are forked from (see entry.py).
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # torch's optimizers import it when they are made; here that is done once, and not after each restart

from windlass_core import log as json_log
from windlass_core.contracts import PEER_LOST, Progress, RunResult, TrainRun
from windlass_core.errors import BadConfiguration, BadDevice, Unavailable, WindlassError
from windlass_core.store import Store
from windlass_train.checkpoint import Checkpoints
from windlass_train.data import Data, load
from windlass_train.evaluate import evaluate_on_test
from windlass_train.group import Group, choose_device, join, lost_peer
from windlass_train.pod import process_count
from windlass_train.reports import Outcome, Reports
from windlass_train.result import published_result
from windlass_train.runs import RunFolder
from windlass_train.torch_logs import send_torch_logs_to_root
from windlass_train.trainer import Trained, Trainer, fingerprint, initial_module

log = logging.getLogger(__name__)


def main(run_json: str, folder: str) -> None:
    """Entry point, in an environment that torch elastic has set.

    Args:
        run_json: a TrainRun.
        folder: where this pod's reports go.

    Raises:
        SystemExit: with the exit code of what went wrong; returns when the version is published and all members know.
    """
    json_log.configure("train")
    send_torch_logs_to_root()
    local_rank = int(os.environ["LOCAL_RANK"])
    reports = Reports(Path(folder))
    teller = _Teller(reports, speaks=local_rank == 0)
    outcome = _outcome(TrainRun.model_validate_json(run_json), teller, reports.stop_requested)
    reports.write_outcome(local_rank, outcome)
    log.info("the worker ends", extra={"exitCode": outcome.exit_code, "reason": outcome.result.reason})
    if outcome.exit_code != 0:
        sys.exit(outcome.exit_code)


class _Teller:
    """Keeps the newest progress whole while its fields change one by one."""

    def __init__(self, reports: Reports, *, speaks: bool) -> None:
        self._reports = reports
        self._speaks = speaks
        self._progress = Progress(phase="Loading", at=datetime.now(UTC))

    def __call__(self, **fields: Any) -> None:
        self._progress = Progress.model_validate(dict(self._progress) | fields | {"at": datetime.now(UTC)})
        if self._speaks:
            self._reports.write_progress(self._progress)


def _outcome(run: TrainRun, tell: _Teller, stop_requested: Callable[[], bool]) -> Outcome:
    try:
        return Outcome(exit_code=0, result=_train(run, tell, stop_requested))
    except WindlassError as error:
        return _failure(error)
    except torch.cuda.OutOfMemoryError as error:
        log.exception("the GPU's memory is short")
        message = f"the GPU's memory is short: lower model.parameters.batchSize ({_first_line(error)})"
        return _failure(BadConfiguration(message, reason="GpuOutOfMemory"))
    except torch.AcceleratorError as error:
        log.exception("the GPU failed")
        return _failure(BadDevice(f"the GPU failed while training: {_first_line(error)}"))
    except Exception as error:  # the outermost frame: whatever happened must reach the object as a sentence
        if lost_peer(error):
            log.warning("another worker is lost", extra={"detail": _first_line(error)})
            message = f"the connection to another worker broke, and that worker's own end says why ({_first_line(error)})"
            return _failure(Unavailable(message, reason=PEER_LOST))
        log.exception("unexpected error")
        return _failure(WindlassError(f"{type(error).__name__}: {_first_line(error)}"))


def _train(run: TrainRun, tell: _Teller, stop_requested: Callable[[], bool]) -> RunResult:
    tell(phase="Loading", message="reading the data")
    device = choose_device(os.environ, gpu=run.spec.resources.gpu is not None)
    torch.set_num_threads(thread_count(os.environ, processes=process_count(run)))
    store = Store.open(run.namespace)
    data = load(store, run.dataset)
    # Each member sees by itself that the spec does not fit the data, before they meet: one that ends while another still
    # connects is taken for lost there, and that pod would wait for it. On this device a module has no numbers.
    with torch.device("meta"):
        initial_module(data, run.spec)
    group = join(os.environ, device)
    folder = RunFolder(store, run.name, run.uid)
    if group.leads:
        folder.describe(run)
    keep = run.spec.checkpoint.keep
    checkpoints = Checkpoints(store, folder.checkpoints, keep=keep, fingerprint=fingerprint(run))
    trainer = Trainer(
        spec=run.spec,
        data=data,
        group=group,
        checkpoints=checkpoints,
        folder=folder,
        report=tell,
        stop_requested=stop_requested,
    )
    trained = trainer.train()
    tell(phase="Evaluating", eta_seconds=None)
    metrics = group.from_leader(evaluate_on_test(data, trained.module) if group.leads else None)
    tell(phase="Publishing")
    result = _publish(store, run, data, trained, metrics) if group.leads else None
    return _conclude(group, checkpoints, result)


def _publish(store: Store, run: TrainRun, data: Data, trained: Trained, metrics: dict[str, float]) -> RunResult:
    # Imported now: the exporters take seconds to import, and no update should wait for them.
    from windlass_train.publish import publish

    return published_result(publish(store, run, data, trained, metrics))


def _conclude(group: Group, checkpoints: Checkpoints, result: RunResult | None) -> RunResult:
    """All members learn of the version and leave together; the pod that Kubernetes asks may be any of them."""
    if group.leads:
        with suppress(Unavailable):  # the version is there; what is left costs space only
            checkpoints.delete_all()
    told = group.from_leader(result)
    group.barrier()
    return told


def thread_count(environment: Mapping[str, str], *, processes: int) -> int:
    """Threads that torch computes with in one worker: its share of the pod's, which are in OMP_NUM_THREADS, at least one.

    More threads than CPUs wait for one another, and torch takes all cores of the node unless it is told otherwise.
    """
    of_pod = environment.get("OMP_NUM_THREADS", "")
    return max(1, int(of_pod) // processes) if of_pod.isdecimal() else 1


def _failure(error: WindlassError) -> Outcome:
    outcome = "Stopped" if error.exit_code == 44 else "Failed"
    return Outcome(exit_code=error.exit_code, result=RunResult(outcome=outcome, reason=error.reason, message=error.message))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:1000]
