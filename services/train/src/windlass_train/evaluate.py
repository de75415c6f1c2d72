"""How good a model is on the test split.

Classification: accuracy, macro F1, log loss. Regression: RMSE and MAE in the label's unit, and R2.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from windlass_train.data import Data
from windlass_train.objective import FORWARD_ROWS, Program

# Probabilities below this count as this in the log loss, so that one certain mistake does not make it infinite.
SMALLEST_PROBABILITY = 1e-15

Floats = NDArray[np.float32] | NDArray[np.float64]


@torch.no_grad()
def evaluate_on_test(data: Data, module: nn.Module) -> dict[str, float]:
    """Figures of a trained module, on the CPU, on the test split; none if there is no test split."""
    split = data.test
    if split is None:
        return {}
    program = Program(data.problem, module).eval()
    parts = [program(split.features[start : start + FORWARD_ROWS]) for start in range(0, split.rows, FORWARD_ROWS)]
    outputs = torch.cat(parts).numpy()
    if data.problem.task == "classification":
        return classification_metrics(outputs, split.targets.numpy())
    quantities = split.targets.numpy().astype(np.float64) * data.problem.scale + data.problem.offset
    return regression_metrics(outputs[:, 0], quantities)


def classification_metrics(probabilities: Floats, classes: NDArray[np.int64]) -> dict[str, float]:
    """Figures of a classifier.

    Args:
        probabilities: [rows, classes], each row adding up to 1.
        classes: int64 [rows], the true class numbers.

    Returns:
        `accuracy`; `macroF1`, the mean of the F1 scores of all classes that are there or were predicted; `logLoss` in nats.
    """
    predicted = probabilities.argmax(axis=1)
    chosen = probabilities[np.arange(len(classes)), classes].astype(np.float64)
    return {
        "accuracy": float((predicted == classes).mean()),
        "macroF1": _macro_f1(predicted, classes, probabilities.shape[1]),
        "logLoss": float(-np.log(np.maximum(chosen, SMALLEST_PROBABILITY)).mean()),
    }


def regression_metrics(predictions: Floats, quantities: NDArray[np.float64]) -> dict[str, float]:
    """Figures of a regression.

    Args:
        predictions: [rows], in the label's unit.
        quantities: float64 [rows], the true values.

    Returns:
        `rmse` and `mae` in the label's unit; `r2`, 1 minus squared error over variance, 0 if all values are equal and not met.
    """
    errors = predictions.astype(np.float64) - quantities
    squared = float((errors**2).sum())
    spread = float(((quantities - quantities.mean()) ** 2).sum())
    explained = 1 - squared / spread if spread > 0 else float(squared == 0)
    return {"rmse": math.sqrt(squared / len(quantities)), "mae": float(np.abs(errors).mean()), "r2": explained}


def _macro_f1(predicted: NDArray[np.int64], classes: NDArray[np.int64], count: int) -> float:
    hits = np.bincount(classes[predicted == classes], minlength=count)
    total = np.bincount(predicted, minlength=count) + np.bincount(classes, minlength=count)
    present = total > 0
    return float((2 * hits[present] / total[present]).mean())
