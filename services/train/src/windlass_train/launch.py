"""One pod's part of a training run, as windlass_core.run calls it; hands over to the agent and notes how the run ended."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from windlass_core.contracts import RunResult, RunSpec, TrainRun
from windlass_core.errors import BadConfiguration, BadData, Unavailable, UserCodeError
from windlass_core.run import RunContext
from windlass_core.store import Store
from windlass_train.pod import Pod
from windlass_train.runs import RunFolder


def execute(run: RunSpec, context: RunContext) -> RunResult:
    """Do this pod's part of a run; see windlass_core.run.main_run."""
    if not isinstance(run, TrainRun):
        raise BadConfiguration(f"windlass-train runs kind train, not {run.kind}")
    pod = Pod.from_environment(os.environ)
    store = Store.open(run.namespace)
    folder = RunFolder(store, run.name, run.uid)
    with tempfile.TemporaryDirectory(prefix="windlass-pod-") as scratch:
        context.progress.update(phase="Loading", message="starting")
        from windlass_train.agent import Agent  # imports torch, while /progress answers already

        agent = Agent(run, pod, store, context, Path(scratch))
        try:
            result = agent.run()
        except (BadConfiguration, BadData, UserCodeError) as error:
            if pod.index == 0:
                with suppress(Unavailable):  # how it ended matters more than that it is noted
                    folder.conclude(RunResult(outcome="Failed", reason=error.reason, message=error.message))
            raise
        if pod.index == 0:
            folder.conclude(result)
        return result
