"""The training loop: updates, agreement, validation, early stop, checkpoints. The same on every member of the group.

All members take the same decisions at the same step, because they decide on figures they have summed together; so none waits
for a message that another never sends. Knows no pods and no launcher.
"""

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from windlass_core.contracts import Checkpointed, TrainRun
from windlass_core.errors import BadConfiguration, Stopped, Unavailable
from windlass_core.resources.training_job import RecipeParameters, TrainingJobSpec
from windlass_train.checkpoint import Checkpoints
from windlass_train.curve import Curve
from windlass_train.data import Data, SplitData
from windlass_train.group import Group
from windlass_train.objective import FORWARD_ROWS, row_losses
from windlass_train.pace import Agreed, Pace
from windlass_train.recipes import build_module
from windlass_train.runs import RunFolder
from windlass_train.sampler import Position, Sampler, share
from windlass_train.snapshot import Patience, TrainingState, copy_weights, encode, restore

LEARNING_RATES = {"adam": 1e-3, "sgd": 1e-2}
SGD_MOMENTUM = 0.9

log = logging.getLogger(__name__)


class Report(Protocol):
    """Tells how far the run is; fields are those of windlass_core.contracts.Progress."""

    def __call__(self, **fields: Any) -> None:
        """Set some fields."""


@dataclass(frozen=True)
class Trained:
    """The end of training: the module with the weights to publish, and how it came to them."""

    module: nn.Module
    step: int


class Trainer:
    """One run, on one member of its group.

    Args:
        spec: what was asked for.
        data: the splits, whole, on every member.
        group: those who train together.
        checkpoints: where the run saves itself.
        folder: the run's folder, for its figures over time.
        report: told after each agreement.
        stop_requested: whether this member was asked to stop.
    """

    def __init__(
        self,
        *,
        spec: TrainingJobSpec,
        data: Data,
        group: Group,
        checkpoints: Checkpoints,
        folder: RunFolder,
        report: Report,
        stop_requested: Callable[[], bool],
    ) -> None:
        parameters = spec.model.parameters
        self._spec = spec
        self._parameters = parameters
        self._data = data
        self._group = group
        self._checkpoints = checkpoints
        self._report = report
        self._stop_requested = stop_requested
        self._sampler = Sampler(rows=data.train.rows, batch_size=parameters.batch_size, seed=parameters.seed)
        of_epochs = spec.stop.epochs * self._sampler.steps_per_epoch
        self._steps = min(of_epochs, spec.stop.steps or of_epochs)
        self._module = initial_module(data, spec).to(group.device)
        self._optimizer = _optimizer(self._module, parameters)
        self._state = self._resume()
        self._saved_step = self._state.position.step
        self._ddp = group.wrap(self._module)
        self._pace = Pace(group)
        self._curve = self._open_curve(folder)

    def train(self) -> Trained:
        """Train to the end.

        Raises:
            Stopped: a member was asked to stop; the run is saved.
            BadConfiguration: the loss is not finite, or patience is set without a validation split.
        """
        start = {"step": self._state.position.step, "steps": self._steps, "workers": self._group.world_size}
        log.info("training begins", extra=start)
        self._tell()
        while not self._done:
            self._update()
            agreed = self._agree() if self._pace.due or self._save_due or self._pass_ended else None
            if self._pass_ended:
                self._validate()
            self._save_if_due(stop=agreed is not None and agreed.stop)
        if self._state.best is not None:
            self._module.load_state_dict(self._state.best)
        log.info("training ended", extra={"step": self._state.position.step, "gaveUp": self._state.gave_up})
        return Trained(module=self._module.cpu().eval(), step=self._state.position.step)

    @property
    def _done(self) -> bool:
        return self._state.gave_up or self._state.position.step >= self._steps

    @property
    def _pass_ended(self) -> bool:
        """Whether a pass over the data ended with the last update, or was cut short by the end of the run."""
        return self._state.position.consumed == 0 or self._done

    @property
    def _save_due(self) -> bool:
        step = self._state.position.step
        return step > self._saved_step and (step % self._spec.checkpoint.every == 0 or self._done)

    def _update(self) -> None:
        """One update of the weights; the gradient is that of the mean loss over the whole batch, however it is shared out."""
        position = self._state.position
        batch = self._sampler.batch(position)
        mine = share(batch, rank=self._group.rank, world_size=self._group.world_size)
        # A member without rows takes part with one row of weight 0: the others wait for its gradient.
        weight, rows = (1.0, mine) if len(mine) else (0.0, batch[:1])
        if self._parameters.dropout:
            torch.manual_seed(_dropout_seed(self._parameters.seed, position.step, self._group.rank))
        self._module.train()
        loss_sum = weight * self._losses(self._ddp, self._data.train, rows).sum()
        self._optimizer.zero_grad()
        # DDP gives the mean of the members' gradients; times their number it is the sum.
        (loss_sum * (self._group.world_size / len(batch))).backward()  # type: ignore[no-untyped-call]
        if self._parameters.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._module.parameters(), self._parameters.clip_norm)
        self._optimizer.step()
        self._pace.add(loss_sum=loss_sum, rows=len(mine))
        self._state.position = self._sampler.after(position)

    def _losses(self, module: nn.Module, split: SplitData, rows: "np.ndarray[Any, np.dtype[np.int64]]") -> Tensor:
        features, targets = split.take(rows, self._group.device)
        return row_losses(self._data.problem, module(features), targets)

    def _agree(self) -> Agreed:
        agreed = self._pace.agree(stop=self._stop_requested())
        step = self._state.position.step
        if not math.isfinite(agreed.loss):
            raise BadConfiguration(
                f"the loss is no longer a finite number at step {step}: lower model.parameters.learningRate, or set clipNorm",
                reason="LossDiverged",
            )
        if self._curve:
            self._curve.train(step, agreed)
        speed = agreed.samples_per_second
        rows_left = (self._steps - step) * min(self._parameters.batch_size, self._sampler.rows)
        self._tell(loss=agreed.loss, samples_per_second=speed, eta_seconds=rows_left / speed)
        return agreed

    def _validate(self) -> None:
        """Figures on the validation split, each member computing its share; then early stopping decides."""
        split = self._data.validation
        if split is None:
            return
        loss_sum, hits = self._validation_sums(split)
        loss = loss_sum / split.rows
        accuracy = hits / split.rows if self._data.problem.task == "classification" else None
        if self._curve:
            self._curve.validation(self._state.position.step, loss=loss, accuracy=accuracy)
        if self._spec.stop.patience is not None:
            self._consider(loss, self._spec.stop.patience)
        self._pace.start_clock()

    @torch.no_grad()
    def _validation_sums(self, split: SplitData) -> tuple[float, float]:
        self._module.eval()
        mine = share(np.arange(split.rows), rank=self._group.rank, world_size=self._group.world_size)
        loss_sum = hits = 0.0
        for start in range(0, len(mine), FORWARD_ROWS):
            features, targets = split.take(mine[start : start + FORWARD_ROWS], self._group.device)
            outputs = self._module(features)
            loss_sum += float(row_losses(self._data.problem, outputs, targets).double().sum())
            if self._data.problem.task == "classification":
                hits += float((outputs.argmax(dim=1) == targets).sum())
        loss_sum, hits = self._group.sum([loss_sum, hits])
        return loss_sum, hits

    def _consider(self, loss: float, patience: int) -> None:
        held = self._state.patience
        if held.best_loss is None or loss < held.best_loss:
            self._state.patience = Patience(best_loss=loss)
            self._state.best = copy_weights(self._module)
        else:
            self._state.patience = Patience(best_loss=held.best_loss, waited=held.waited + 1)
        self._state.gave_up = self._state.patience.waited >= patience

    def _save_if_due(self, *, stop: bool) -> None:
        if self._save_due or (stop and self._state.position.step > self._saved_step):
            self._save()
        if stop:
            raise Stopped(f"the run was asked to stop and is saved at step {self._state.position.step}")

    def _save(self) -> None:
        step = self._state.position.step
        at = 0.0
        if self._group.leads:
            assert self._curve is not None  # noqa: S101  (the leader has one)
            self._curve.end_part()
            files = encode(self._module, self._optimizer, self._state)
            at = self._checkpoints.save(step, files, world_size=self._group.world_size).at.timestamp()
        # Nobody goes on before the leader has committed, and all tell the same time of it.
        [committed_at] = self._group.sum([at])
        self._saved_step = step
        self._tell(checkpoint=Checkpointed.model_validate({"step": step, "at": committed_at}))
        self._pace.start_clock()

    def _resume(self) -> TrainingState:
        """Go on from the newest checkpoint that the leader finds whole."""
        newest = self._checkpoints.newest() if self._group.leads else None
        found = newest.commit.step if newest else 0
        step = self._group.from_leader(found if self._group.leads else None)
        if step == 0:
            return TrainingState()
        checkpoint = newest or self._checkpoints.load(step)
        if checkpoint is None:
            raise Unavailable(f"the checkpoint of step {step} that another worker resumes from cannot be read here")
        state = restore(checkpoint.files, self._module, self._optimizer)
        self._report(checkpoint=Checkpointed(step=step, at=checkpoint.commit.at))
        log.info("resumed from a checkpoint", extra={"step": step})
        return state

    def _open_curve(self, folder: RunFolder) -> Curve | None:
        if not self._group.leads:
            return None
        return Curve(
            folder,
            steps=self._steps,
            steps_per_epoch=self._sampler.steps_per_epoch,
            start=self._state.position.step,
        )

    def _tell(self, **fields: Any) -> None:
        position: Position = self._state.position
        self._report(phase="Training", message="", step=position.step, steps=self._steps, epoch=position.epoch, **fields)


def fingerprint(run: TrainRun) -> str:
    """sha256 over what a checkpoint depends on: the data, and the model that is asked for."""
    parts = (run.dataset.digest, run.spec.model.model_dump_json(by_alias=True))
    return f"sha256:{hashlib.sha256('|'.join(parts).encode()).hexdigest()}"


def initial_module(data: Data, spec: TrainingJobSpec) -> nn.Module:
    """The module with the weights that training begins with.

    Raises:
        BadConfiguration: the recipe or when to stop does not fit the data.
    """
    if spec.stop.patience is not None and data.validation is None:
        raise BadConfiguration("stop.patience needs a validation split; set split.validation above 0 in the Dataset")
    torch.manual_seed(spec.model.parameters.seed)
    return build_module(data.problem, spec.model)


def _optimizer(module: nn.Module, parameters: RecipeParameters) -> torch.optim.Optimizer:
    rate = parameters.learning_rate or LEARNING_RATES[parameters.optimizer]
    if parameters.optimizer == "adam":
        return torch.optim.Adam(module.parameters(), lr=rate, weight_decay=parameters.weight_decay)
    momentum = SGD_MOMENTUM if parameters.momentum is None else parameters.momentum
    return torch.optim.SGD(module.parameters(), lr=rate, momentum=momentum, weight_decay=parameters.weight_decay)


def _dropout_seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for each update and member, so that a resumed run drops what it would have dropped."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
