"""Recipes of fully connected layers: one layer (linear and logistic regression), and several (mlp)."""

from torch import nn

from windlass_core.resources.training_job import RecipeParameters
from windlass_train.recipes.problem import Problem

MLP_HIDDEN = (128, 64)


def build_affine(problem: Problem, parameters: RecipeParameters) -> nn.Module:  # noqa: ARG001  (all recipes are called alike)
    """One affine map from features to outputs."""
    return nn.Linear(problem.features, problem.outputs)


def build_mlp(problem: Problem, parameters: RecipeParameters) -> nn.Module:
    """Layers of neurons with ReLU between them."""
    return dense_layers(problem.features, parameters.hidden or MLP_HIDDEN, problem.outputs, parameters.dropout or 0.0)


def dense_layers(inputs: int, hidden: list[int] | tuple[int, ...], outputs: int, dropout: float) -> nn.Sequential:
    """[inputs] -> hidden widths with ReLU, and dropout if it is above 0 -> [outputs]."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
