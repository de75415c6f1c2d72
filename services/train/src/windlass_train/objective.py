"""What the numbers of a module mean: the loss they are trained by, and the program that is served.

Classification: logits; the loss of a row is its cross-entropy, the program gives probabilities. Regression: the label in
standard deviations from its mean, so that any unit trains alike; the loss of a row is half its squared error in that unit, the
program gives the label's own unit.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from windlass_train.recipes.problem import Problem

INPUT_NAME = "features"
# Rows of one forward pass without gradients; bounds the memory of validation and evaluation.
FORWARD_ROWS = 4096


def row_losses(problem: Problem, outputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of each row.

    Args:
        problem: what is learned.
        outputs: float32 [batch, outputs] of the module.
        targets: int64 [batch] class numbers, or float32 [batch] standardised quantities.

    Returns:
        float32 [batch].
    """
    if problem.task == "classification":
        return functional.cross_entropy(outputs, targets, reduction="none")
    return 0.5 * (outputs.squeeze(1) - targets).square()


class Program(nn.Module):
    """The trained module with its meaning inside: what is exported, evaluated and served.

    Takes float32 [batch, features]; gives `probabilities` float32 [batch, classes] or `prediction` float32 [batch, 1].
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, problem: Problem, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.classifies = problem.task == "classification"
        self.output_name = "probabilities" if self.classifies else "prediction"
        if not self.classifies:
            self.register_buffer("offset", torch.tensor(problem.offset, dtype=torch.float32))
            self.register_buffer("scale", torch.tensor(problem.scale, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """float32 [batch, features] to float32 [batch, classes] or [batch, 1]."""
        outputs: Tensor = self.module(features)
        if self.classifies:
            return functional.softmax(outputs, dim=1)
        return outputs * self.scale + self.offset
