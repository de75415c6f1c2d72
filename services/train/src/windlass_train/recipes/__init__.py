"""The built-in recipes: each makes an untrained torch module for a problem, or says why it cannot.

A module takes float32 [batch, features] and gives float32 [batch, outputs]: logits for classification, one standardised number
for regression. What the numbers mean is in `objective.py`; how they are trained, in `trainer.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from windlass_core.errors import BadConfiguration
from windlass_core.manifests import Task
from windlass_core.resources.training_job import RecipeParameters, TrainedModel
from windlass_train.recipes.cnn import build_cnn
from windlass_train.recipes.dense import build_affine, build_mlp
from windlass_train.recipes.problem import Problem

__all__ = ["RECIPES", "Problem", "Recipe", "build_module"]


@dataclass(frozen=True)
class Recipe:
    """A way to make a module, and the tasks it is for."""

    tasks: frozenset[Task]
    build: Callable[[Problem, RecipeParameters], nn.Module]


_BOTH: frozenset[Task] = frozenset({"classification", "regression"})

RECIPES: Mapping[str, Recipe] = {
    "linear": Recipe(frozenset({"regression"}), build_affine),
    "logistic": Recipe(frozenset({"classification"}), build_affine),
    "mlp": Recipe(_BOTH, build_mlp),
    "cnn": Recipe(_BOTH, build_cnn),
}


def build_module(problem: Problem, model: TrainedModel) -> nn.Module:
    """The untrained module of `model.recipe`; its initial weights come from torch's global generator.

    Raises:
        BadConfiguration: the recipe is not for this task, or its parameters do not fit the features.
    """
    recipe = RECIPES[model.recipe]
    if problem.task not in recipe.tasks:
        raise BadConfiguration(_wrong_task(problem, model.recipe), reason="RecipeDoesNotFit")
    return recipe.build(problem, model.parameters)


def _wrong_task(problem: Problem, recipe: str) -> str:
    fitting = ", ".join(name for name, candidate in RECIPES.items() if problem.task in candidate.tasks)
    kind = "holds classes" if problem.task == "classification" else "is a quantity"
    return (
        f"model.recipe {recipe} cannot do {problem.task}, and the label '{problem.label}' {kind}: "
        f"use one of {fitting}, or set task in the Dataset if the label means something else"
    )
