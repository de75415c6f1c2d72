"""The processes that train together: their ranks, their device, and the few things they say to one another.

A group of one needs no torch.distributed at all, so that tests and small runs pay nothing for it. Knows no data and no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from windlass_core.errors import BadDevice

T = TypeVar("T")

# A dead process resets its sockets and is noticed at once; this bounds the wait for a node that vanished silently. It must
# exceed what one rank does alone while the others wait: exporting and uploading the model.
COLLECTIVE_TIMEOUT = timedelta(minutes=10)

# What errors of gloo and NCCL hold when a message to another process fails.
_OF_PEERS = ("/gloo/transport/", "ncclRemoteError")

# What holds the process group; see `join`.
_never_freed: list[nn.Module] = []


@dataclass(frozen=True)
class Group:
    """One member's view of the group.

    Attributes:
        rank: number of this process; it may change with every restart, so nothing lasting hangs on it.
        world_size: number of processes.
        device: where this process computes.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes what the group has to write once."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose gradients are means over the group; all members start with the weights of rank 0."""
        if self.world_size == 1:
            return module
        wrapped = DistributedDataParallel(module, gradient_as_bucket_view=True)
        _never_freed.append(wrapped)
        return wrapped

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over the group, the same on all members; float64."""
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def from_leader(self, value: T | None) -> T:
        """What rank 0 gives, on all members. Others give None."""
        held: list[T | None] = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(held, src=0, device=self.device)
        received = held[0]
        assert received is not None  # noqa: S101  (rank 0 gave a value)
        return received

    def barrier(self) -> None:
        """Wait until all members are here."""
        self.sum([0.0])


def choose_device(environment: Mapping[str, str], *, gpu: bool) -> torch.device:
    """Where this process computes: the CPU, or the GPU of its LOCAL_RANK, which is tried.

    Raises:
        BadDevice: a GPU was asked for and does not work.
    """
    if not gpu:
        return torch.device("cpu")
    index = int(environment.get("LOCAL_RANK", "0"))
    if not torch.cuda.is_available():
        raise BadDevice("resources.gpu is set, but this pod sees no working GPU; check the node's driver and device plugin")
    if index >= torch.cuda.device_count():
        raise BadDevice(f"resources.gpu asks for {index + 1} GPUs or more, but this pod sees only {torch.cuda.device_count()}")
    device = torch.device("cuda", index)
    try:
        torch.cuda.set_device(device)
        torch.ones(1, device=device).add_(1).item()
    except RuntimeError as error:
        raise BadDevice(f"GPU {index} of this pod does not compute: {str(error).splitlines()[0]}") from error
    return device


def lost_peer(error: Exception) -> bool:
    """Whether this member failed only because another one is gone or out of reach.

    Torch has no type for it: gloo's own errors are RuntimeErrors that name the file they come from.
    """
    text = str(error)
    return isinstance(error, dist.DistNetworkError | dist.DistStoreError) or any(part in text for part in _OF_PEERS)


def join(environment: Mapping[str, str], device: torch.device) -> Group:
    """The group that torch elastic describes by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; gloo on CPUs, NCCL on GPUs.

    It is never left but by the end of the process: torch frees a process group while it holds the GIL, and now and then waits
    there for a thread of its own that wants the GIL, too (seen with gloo in torch 2.13, in one of six ends).
    """
    rank, world_size = int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))
    if world_size > 1:
        on_gpu = device.type == "cuda"
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=COLLECTIVE_TIMEOUT, device_id=device if on_gpu else None)
    return Group(rank=rank, world_size=world_size, device=device)
