"""Recipes: which problems they take, what they make of them, and what they say when they cannot."""

from typing import Any

import pytest
import torch

from windlass_core.errors import BadConfiguration
from windlass_core.resources.training_job import TrainedModel
from windlass_train.recipes import Problem, build_module

CLASSES = Problem("classification", "digit", 64, classes=10)
QUANTITY = Problem("regression", "price", 64, offset=5, scale=2)


def model(recipe: str, **parameters: Any) -> TrainedModel:
    return TrainedModel.model_validate({"name": "m", "recipe": recipe, "parameters": parameters})


@pytest.mark.parametrize(
    ("recipe", "parameters", "problem", "weights"),
    [
        pytest.param("linear", {}, QUANTITY, 65, id="linear is one weight a feature and an offset"),
        pytest.param("logistic", {}, CLASSES, 650, id="logistic is that for each class"),
        pytest.param("mlp", {}, CLASSES, 64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10, id="mlp has layers of 128 and 64"),
        pytest.param("mlp", {"hidden": [7]}, QUANTITY, 64 * 7 + 7 + 7 + 1, id="mlp takes its layers from hidden"),
        pytest.param("mlp", {"hidden": [7], "dropout": 0.5}, QUANTITY, 463, id="dropout has no weights"),
        pytest.param(
            "cnn",
            {},
            CLASSES,
            160 + 16 * 32 * 9 + 32 + 32 * 4 * 64 + 64 + 650,
            id="cnn takes 64 features as 8 x 8 and pools twice",
        ),
        pytest.param(
            "cnn",
            {"image": [4, 4, 4], "channels": [3], "hidden": [5]},
            QUANTITY,
            4 * 3 * 9 + 3 + 3 * 4 * 5 + 5 + 5 + 1,
            id="cnn takes the image, channels and layers that are given",
        ),
        pytest.param(
            "cnn",
            {"channels": [2, 2, 2, 2, 2], "hidden": [3]},
            CLASSES,
            20 + 4 * 38 + 2 * 3 + 3 + 3 * 10 + 10,
            id="cnn stops pooling when one pixel is left",
        ),
    ],
)
def test_a_recipe_makes_a_module_of_the_right_size(
    recipe: str, parameters: dict[str, Any], problem: Problem, weights: int
) -> None:
    module = build_module(problem, model(recipe, **parameters))
    assert sum(parameter.numel() for parameter in module.parameters()) == weights
    assert module(torch.zeros(3, 64)).shape == (3, problem.outputs)


@pytest.mark.parametrize(
    ("recipe", "parameters", "problem", "sentence"),
    [
        pytest.param(
            "linear", {}, CLASSES, "label 'digit' holds classes: use one of logistic, mlp, cnn", id="linear on classes"
        ),
        pytest.param(
            "logistic", {}, QUANTITY, "label 'price' is a quantity: use one of linear, mlp, cnn", id="logistic on a quantity"
        ),
        pytest.param(
            "cnn", {}, Problem("regression", "y", 30), "30 features form no square", id="cnn on features of no square"
        ),
        pytest.param(
            "cnn", {"image": [3, 8, 8]}, CLASSES, "has 192 numbers, but the Dataset has 64", id="cnn on another image"
        ),
    ],
)
def test_a_recipe_that_does_not_fit_says_why(recipe: str, parameters: dict[str, Any], problem: Problem, sentence: str) -> None:
    with pytest.raises(BadConfiguration, match=sentence) as raised:
        build_module(problem, model(recipe, **parameters))
    assert raised.value.reason == "RecipeDoesNotFit"
