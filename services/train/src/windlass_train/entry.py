"""The start of worker processes. Light: it imports nothing that workers need, and so can come before everything else.

Torch takes seconds to import, in the agent and in its workers. So a server process imports all that a worker needs while the
agent imports what it needs; workers are forked from the server, the first time and after each fault.
"""

import multiprocessing
import os
from multiprocessing.forkserver import ensure_running

START_METHOD = "forkserver"

_DEFAULTS = {
    # The operator sets it to the pod's whole CPUs; without it, torch would take all cores of the machine.
    "OMP_NUM_THREADS": "1",
    # Warnings of torch's C++ parts are stack traces on stderr; what matters of them comes as an exception, too.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
_SETTINGS = {
    # A store kept over restarts tells new workers the addresses of dead ones (pytorch/pytorch#135712).
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    # Torch elastic would take SIGTERM for itself and kill workers that have yet to save; see agent.py.
    "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGQUIT",
}
# Python's resource tracker outlives a pod that is killed by a moment, removes the semaphores of torch elastic's queues, as it
# is there to do, and warns of them on stderr: the only line of a pod's log that would not be ours.
_QUIET_TRACKER = "ignore:resource_tracker:UserWarning:multiprocessing.resource_tracker"


def warm_up() -> None:
    """Start the server that workers are forked from, in an environment that is good for it and for the agent."""
    os.environ.update({name: value for name, value in _DEFAULTS.items() if name not in os.environ} | _SETTINGS)
    # Read by the tracker, which starts with the server; of several filters the last counts.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), _QUIET_TRACKER]))
    multiprocessing.get_context(START_METHOD).set_forkserver_preload(["windlass_train.worker"])
    ensure_running()


def work(run_json: str, folder: str) -> None:
    """What torch elastic runs in each worker process; see windlass_train.worker.main."""
    from windlass_train.worker import main

    main(run_json, folder)
