"""The state of a run as bytes, and back: weights, optimizer, position, and what early stopping remembers.

Random numbers need no state of their own: the order of rows follows from (seed, epoch), and dropout from (seed, step, rank).
Nothing that is read here can run code: weights are safetensors, the optimizer is read with `weights_only`.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from pydantic import TypeAdapter
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from windlass_train.sampler import Position

Weights = dict[str, Tensor]

_MODEL, _BEST, _OPTIMIZER, _STATE = "model.safetensors", "best.safetensors", "optimizer.pt", "state.json"


@dataclass(frozen=True)
class Patience:
    """What early stopping remembers.

    Attributes:
        best_loss: lowest validation loss so far; None before the first validation.
        waited: validations since then without a lower one.
    """

    best_loss: float | None = None
    waited: int = 0


@dataclass
class TrainingState:
    """Where a run stands, besides its weights."""

    position: Position = field(default_factory=Position)
    patience: Patience = field(default_factory=Patience)
    gave_up: bool = False  # early stopping ended the run
    best: Weights | None = None


@dataclass(frozen=True)
class _StateFile:
    position: Position
    patience: Patience
    gave_up: bool


_STATE_FILE = TypeAdapter(_StateFile)


def encode(module: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> dict[str, bytes]:
    """All that a run needs to go on as if it had not ended, as named files."""
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    rest = _StateFile(position=state.position, patience=state.patience, gave_up=state.gave_up)
    files = {
        _MODEL: save_tensors(copy_weights(module)),
        _OPTIMIZER: buffer.getvalue(),
        _STATE: _STATE_FILE.dump_json(rest),
    }
    if state.best is not None:
        files[_BEST] = save_tensors(state.best)
    return files


def restore(files: Mapping[str, bytes], module: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Put the weights and the optimizer back as they were; the rest is returned."""
    module.load_state_dict(load_tensors(files[_MODEL]))
    optimizer.load_state_dict(torch.load(io.BytesIO(files[_OPTIMIZER]), map_location="cpu", weights_only=True))
    rest = _STATE_FILE.validate_json(files[_STATE])
    best = load_tensors(files[_BEST]) if _BEST in files else None
    return TrainingState(position=rest.position, patience=rest.patience, gave_up=rest.gave_up, best=best)


def copy_weights(module: nn.Module) -> Weights:
    """The weights of a module as they are now, on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in module.state_dict().items()}
