"""The agent of a pod: starts its worker processes through torch elastic, watches them, and says how the run ended.

    a worker crashes            all workers of all pods meet again and go on from the newest checkpoint, `restarts.max` times
    a pod vanishes              the others notice, and wait for its replacement
    a worker ends for good      with an exit code of errors.py: this pod ends with the same code and the worker's sentence
    SIGTERM                     is passed on to the worker; the group saves itself, this pod ends with 44, the others wait
    the version is published    every pod learns of it from its worker, or finds it in the registry, and ends with 0

Knows no model and no data.
"""

import logging
import time
from pathlib import Path

from torch.distributed.elastic.agent.server.api import WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousStateError,
    RendezvousTimeoutError,
)

from windlass_core.contracts import RunResult, TrainRun
from windlass_core.errors import BadConfiguration, BadData, Stopped, Unavailable, UserCodeError, WindlassError
from windlass_core.registry import Registry
from windlass_core.run import RunContext
from windlass_core.store import Store
from windlass_train.entry import START_METHOD, work
from windlass_train.pod import Pod, process_count
from windlass_train.relay import relayed
from windlass_train.rendezvous import JOIN_SECONDS, WatchedRendezvous
from windlass_train.reports import Reports
from windlass_train.restarts import Restarts
from windlass_train.result import published_result
from windlass_train.torch_logs import send_torch_logs_to_root

# Workers that were asked to stop get this long to save themselves before they are killed; pods get a longer grace period.
STOP_SECONDS = 45
# How often the agent looks at its workers.
MONITOR_SECONDS = 0.1
# Workers have said goodbye to one another already when their agents wait for each other.
EXIT_BARRIER_SECONDS = 10
# How often a pod that waits for others looks whether the run is published already.
LOOK_PUBLISHED_SECONDS = 5.0

# Torch elastic's own count of restarts knows no kinds of ends; ours does (restarts.py), and is asked before each round.
WITHOUT_BOUND = 2**31

log = logging.getLogger(__name__)


class _AlreadyPublished(Exception):
    def __init__(self, result: RunResult) -> None:
        super().__init__("the run is published")
        self.result = result


class Agent:
    """Torch elastic's agent, with what it does not do by itself.

    Args:
        run: what to do.
        pod: which part of it this pod does.
        store: of the run's namespace.
        context: of the pod's run.
        scratch: an empty folder for what workers report.
    """

    def __init__(self, run: TrainRun, pod: Pod, store: Store, context: RunContext, scratch: Path) -> None:
        self._run = run
        self._pod = pod
        self._registry = Registry(store, "models")
        self._context = context
        self._reports = Reports(scratch)
        self._scratch = scratch
        self._restarts = Restarts(run.spec.restarts.max)
        self._worked = False  # whether workers have started since the last round
        self._look_published_at = 0.0
        self._stop_by: float | None = None

    def run(self) -> RunResult:
        """Until the run is published.

        Raises:
            WindlassError: how it ended otherwise; the class says whether another try can help.
        """
        send_torch_logs_to_root()
        with relayed(self._reports, self._context.progress):
            try:
                while True:
                    result = self._live()
                    if result is not None:
                        return result
            except _AlreadyPublished as done:
                return done.result

    def _live(self) -> RunResult | None:
        """One life of the group. It ends without a result when the pod with index 0, where all meet, is lost."""
        rendezvous = self._rendezvous()
        try:
            return self._run_workers(rendezvous)
        except RendezvousClosedError as error:
            raise Stopped("another worker of the run has ended it") from error
        except RendezvousTimeoutError as error:
            message = f"not all {self._run.spec.workers} workers were there within {JOIN_SECONDS} s"
            raise Unavailable(message, reason="WorkersMissing") from error
        except (RendezvousConnectionError, RendezvousStateError):
            if self._pod.index == 0:
                raise
            log.warning("the pod with index 0 is lost; waiting for its replacement")
            rendezvous.shutdown()  # its heart beats for nobody
            self._worked = False  # how the workers here ended was not their doing
            return None
        except (BadConfiguration, BadData, UserCodeError):
            rendezvous.shutdown()  # nobody may wait for a group that will not be
            raise

    def _rendezvous(self) -> WatchedRendezvous:
        return WatchedRendezvous(
            host=self._run.rendezvous_host,
            port=self._pod.rendezvous_port,
            run_id=f"{self._run.uid}-{self._run.attempt}",
            workers=self._run.spec.workers,
            hosts=self._pod.index == 0,
            address=self._pod.address,
            watcher=self,
        )

    def _run_workers(self, rendezvous: WatchedRendezvous) -> RunResult:
        spec = WorkerSpec(
            role="trainer",
            local_world_size=process_count(self._run),
            entrypoint=work,
            args=(self._run.to_json_text(), str(self._scratch)),
            rdzv_handler=rendezvous,
            max_restarts=WITHOUT_BOUND,
            monitor_interval=MONITOR_SECONDS,
            local_addr=self._pod.address,
        )
        agent = LocalElasticAgent(
            spec,
            logs_specs=DefaultLogsSpecs(log_dir=str(self._scratch / "elastic")),
            start_method=START_METHOD,
            exit_barrier_timeout=EXIT_BARRIER_SECONDS,
        )
        ended = agent.run()
        outcomes = self._reports.outcomes()
        if ended is None or ended.is_failed() or not outcomes:
            raise WindlassError(f"torch elastic gave up its workers in state {ended.state if ended else None}")
        return outcomes[0].result

    def before_round(self, *, called_back: bool) -> None:
        """See Watcher."""
        if self._worked:
            asked = self._context.stop_requested.is_set()
            self._restarts.allow(self._reports.outcomes(), asked_to_stop=asked, called_back=called_back)
            log.info("the workers of all pods meet again", extra={"calledBack": called_back})
        self._worked = False
        self._reports.forget_outcomes()
        self._look_published_at = 0.0
        self.while_waiting()
        message = f"waiting until all {self._run.spec.workers} workers are there"
        self._context.progress.update(phase="Loading", message=message, eta_seconds=None)

    def joined(self) -> None:
        """See Watcher."""
        self._worked = True

    def while_waiting(self) -> None:
        """Leave if there is a reason not to wait for the others any longer; see Watcher."""
        self._context.check_stop()
        if time.monotonic() < self._look_published_at:
            return
        self._look_published_at = time.monotonic() + LOOK_PUBLISHED_SECONDS
        try:
            published = self._registry.find(self._run.spec.model.name, self._run.uid)
        except Unavailable as error:
            log.warning("cannot look whether the run is published", extra={"detail": error.message})
            return
        if published is not None:
            raise _AlreadyPublished(published_result(published))

    def while_working(self) -> None:
        """Pass a request to stop on, and leave if the workers do not end by themselves; see Watcher."""
        if not self._context.stop_requested.is_set():
            return
        if self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_SECONDS
            self._reports.request_stop()
        elif time.monotonic() > self._stop_by:
            raise Stopped(f"the run was asked to stop, and did not save itself within {STOP_SECONDS} s")
