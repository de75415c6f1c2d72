"""What runs a model's program: the few methods that the rest of the service knows of an engine.

An engine is used by one thread at a time, the batcher's. It takes rows of float32 features and gives back one array a named
output, with as many rows. Knows no requests, no columns and no store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Outputs = Mapping[str, Floats]


@dataclass(frozen=True)
class EngineSignature:
    """What the program takes and gives.

    `features` is the width of its one input, float32 of shape [rows, features]; `outputs` maps each output's name to its width,
    float32 of shape [rows, width].
    """

    features: int
    outputs: Mapping[str, int]


class Engine(Protocol):
    """A loaded program."""

    @property
    def name(self) -> str:
        """What V2 metadata calls the platform, for example onnxruntime_onnx."""

    @property
    def signature(self) -> EngineSignature:
        """What the program takes and gives."""

    def run(self, features: Floats) -> Outputs:
        """All outputs for `features`, float32 of shape [rows, signature.features] with at least one row.

        Raises:
            Exception: whatever the program raises; the batcher decides whose fault it was.
        """

    def close(self) -> None:
        """Give back what the program holds. The engine is not used afterwards."""


class EngineLoader(Protocol):
    """Makes an engine of one format from the file that holds the program."""

    def __call__(self, program: Path) -> Engine:
        """The engine. Raises BadData with reason ModelLoadFailed when the file is no program that it can run."""
