"""The recipe cnn: convolutions over feature columns that form an image, then fully connected layers."""

import math
from typing import NamedTuple

from torch import nn

from windlass_core.errors import BadConfiguration
from windlass_core.resources.training_job import RecipeParameters
from windlass_train.recipes.dense import dense_layers
from windlass_train.recipes.problem import Problem

CNN_CHANNELS = (16, 32)
CNN_HIDDEN = (64,)


class ImageShape(NamedTuple):
    """How feature columns form an image: first all of the first channel, row by row."""

    channels: int
    height: int
    width: int


def build_cnn(problem: Problem, parameters: RecipeParameters) -> nn.Module:
    """3x3 convolutions with ReLU, each followed by 2x2 max pooling while the image has two rows and columns to pool.

    Raises:
        BadConfiguration: the features do not form the image, or form no square and no image is given.
    """
    image = _image(problem, parameters)
    channels, height, width = image
    layers: list[nn.Module] = [nn.Unflatten(1, tuple(image))]
    for filters in parameters.channels or CNN_CHANNELS:
        layers += [nn.Conv2d(channels, filters, kernel_size=3, padding=1), nn.ReLU()]
        channels = filters
        if height >= 2 and width >= 2:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    dense = dense_layers(channels * height * width, parameters.hidden or CNN_HIDDEN, problem.outputs, parameters.dropout or 0.0)
    return nn.Sequential(*layers, nn.Flatten(), *dense)


def _image(problem: Problem, parameters: RecipeParameters) -> ImageShape:
    if parameters.image is not None:
        image = ImageShape(*parameters.image)
        if math.prod(image) != problem.features:
            raise BadConfiguration(
                f"model.parameters.image {list(image)} has {math.prod(image)} numbers, but the Dataset has {problem.features} "
                "features; image is channels, height and width",
                reason="RecipeDoesNotFit",
            )
        return image
    side = math.isqrt(problem.features)
    if side * side != problem.features:
        raise BadConfiguration(
            f"recipe cnn takes the features as a square image of one channel, but {problem.features} features form no square: "
            "set model.parameters.image to channels, height and width, or use recipe mlp",
            reason="RecipeDoesNotFit",
        )
    return ImageShape(1, side, side)
