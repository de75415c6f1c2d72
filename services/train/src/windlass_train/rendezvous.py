"""Meeting the other pods of the run, in a way that can be left.

Torch's c10d rendezvous waits in one long call for pods that may never come: because the run is published already, because this
pod was told to stop, or because its own worker has ended for good. So the waiting is done in a thread, while the main thread
looks for such a reason to leave.
"""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Protocol

import torch.distributed.elastic.rendezvous.registry as rendezvous_registry
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousTimeoutError,
)
from torch.distributed.elastic.rendezvous.utils import parse_rendezvous_endpoint

# How often the main thread looks for a reason to leave; also how long a stop may go unheard.
LOOK_SECONDS = 0.2
# One try to reach the pod with index 0. Its name may still lead to a pod that is gone, which never answers.
CONNECT_SECONDS = 2.0
# So long a group may be incomplete: a new pod may have to wait for a new node, and pull its image there.
JOIN_SECONDS = 600
# Everyone is there when the last one comes, as the number of pods is fixed; this is for late heartbeats only.
LAST_CALL_SECONDS = 5
# A pod that died silently leaves the group after three of these.
KEEP_ALIVE_SECONDS = 2
# One operation of the rendezvous store; they take milliseconds.
STORE_SECONDS = 20


class Watcher(Protocol):
    """Is asked whether this pod should leave. Each method raises to leave; what it raises reaches the caller of the agent."""

    def before_round(self, *, called_back: bool) -> None:
        """Workers are to meet. `called_back`: the last round was ended for the sake of pods that want to join."""

    def while_waiting(self) -> None:
        """Called every LOOK_SECONDS while the group is incomplete."""

    def joined(self) -> None:
        """The group is whole and its workers are about to start."""

    def while_working(self) -> None:
        """Called at each look of the agent at its workers."""


class WatchedRendezvous(RendezvousHandler):
    """Torch's c10d rendezvous, entered anew for each round of workers.

    Args:
        host: name or address of the pod with index 0.
        port: of its rendezvous store.
        run_id: pods with another one never meet.
        workers: pods in the group.
        hosts: whether this is the pod with index 0.
        address: of this pod, as others reach it; by default its host name.
        watcher: may end the waiting.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        run_id: str,
        workers: int,
        hosts: bool,
        address: str | None,
        watcher: Watcher,
    ) -> None:
        self._parameters = RendezvousParameters(
            backend="c10d",
            # The host reaches itself by its own address: its name may not be known to the cluster's DNS yet.
            endpoint=f"{(hosts and address) or host}:{port}",
            run_id=run_id,
            min_nodes=workers,
            max_nodes=workers,
            local_addr=address,
            is_host=hosts,
            join_timeout=JOIN_SECONDS,
            last_call_timeout=LAST_CALL_SECONDS,
            keep_alive_interval=KEEP_ALIVE_SECONDS,
            read_timeout=STORE_SECONDS,
        )
        self._hosts = hosts
        self._watcher = watcher
        self._handler: RendezvousHandler | None = None
        self._called_back = False

    def next_rendezvous(self) -> RendezvousInfo:
        """Wait until the group is whole.

        Raises:
            RendezvousTimeoutError: it was not within JOIN_SECONDS.
            Exception: whatever the watcher raises.
        """
        self._watcher.before_round(called_back=self._called_back)
        self._called_back = False
        joining: Future[RendezvousInfo] = Future()
        # A daemon: when the main thread leaves, the process ends without waiting for it.
        threading.Thread(target=_settle, args=(joining, self._join), name="rendezvous", daemon=True).start()
        # Not result(timeout=...): a TimeoutError of the joining itself would look like one that says "not yet".
        while not wait([joining], timeout=LOOK_SECONDS).done:
            self._watcher.while_waiting()
        info = joining.result()
        self._watcher.joined()
        return info

    def _join(self) -> RendezvousInfo:
        if self._handler is None:
            if not self._hosts:
                _wait_for_host(self._parameters.endpoint)
            self._handler = rendezvous_registry.get_rendezvous_handler(self._parameters)
        return self._handler.next_rendezvous()

    def get_backend(self) -> str:
        """See RendezvousHandler."""
        return "c10d"

    @property
    def use_agent_store(self) -> bool:
        """Never; see TORCH_DISABLE_SHARE_RDZV_TCP_STORE in entry.py."""
        return False

    def get_run_id(self) -> str:
        """See RendezvousHandler."""
        return str(self._parameters.run_id)

    def is_closed(self) -> bool:
        """See RendezvousHandler."""
        return self._handler is not None and self._handler.is_closed()

    def set_closed(self) -> None:
        """See RendezvousHandler."""
        if self._handler is not None:
            self._handler.set_closed()  # type: ignore[no-untyped-call]

    def num_nodes_waiting(self) -> int:
        """See RendezvousHandler; the agent asks at each look at its workers."""
        self._watcher.while_working()
        waiting = self._handler.num_nodes_waiting() if self._handler is not None else 0
        self._called_back = waiting > 0
        return waiting

    def shutdown(self) -> bool:
        """See RendezvousHandler. Ends the rendezvous for all pods."""
        return self._handler is None or self._handler.shutdown()


def _settle(future: "Future[RendezvousInfo]", call: Callable[[], RendezvousInfo]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
        future.set_exception(error)


def _wait_for_host(endpoint: str) -> None:
    """Until the store of the pod with index 0 takes connections; its name is looked up anew at each try."""
    host, port = parse_rendezvous_endpoint(endpoint, default_port=-1)
    deadline = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
        except OSError:
            time.sleep(LOOK_SECONDS)
            continue
        return
    raise RendezvousTimeoutError(f"{endpoint} was not reached")
