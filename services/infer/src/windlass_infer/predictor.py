"""A loaded version, as callers see it: the protocol of what translates between requests and the arrays of an engine.

    instances or tensors  ->  arrays by name  ->  (engine)  ->  arrays by name  ->  predictions or tensors

There are two: `tabular.py` for versions with a fitted transform (rows of columns in, labels or quantities out), and
`tensor_predictor.py` for those without (tensors in, tensors out). Both are pure and without state, and know no HTTP, no queue
and no store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from windlass_infer.datatypes import Tensor
from windlass_infer.engine import Arrays, TensorSignature
from windlass_infer.errors import BadRequest

# Names shown in a refusal; a model may have hundreds of columns.
_NAMES_SHOWN = 10


@dataclass(frozen=True)
class ServedVersion:
    """Which version answers: the name it answers under, its number and digest, and the Model it is of."""

    name: str
    number: int
    digest: str
    model: str


@dataclass(frozen=True)
class ImageInput:
    """How a picture becomes a row of an input: [channels, height, width], or with the channels last.

    A height or width of -1 is that of the picture. Floating-point inputs are given (value / 255 - mean) / deviation for each
    channel, UINT8 the values as they are.
    """

    signature: TensorSignature
    channels_last: bool
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Predictor(Protocol):
    """Translates for one version."""

    @property
    def version(self) -> ServedVersion:
        """Which version it translates for."""

    @property
    def inputs(self) -> tuple[TensorSignature, ...]:
        """What V2 metadata says of the inputs."""

    @property
    def outputs(self) -> tuple[TensorSignature, ...]:
        """What V2 metadata says of the outputs."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in order."""

    @property
    def only_input(self) -> TensorSignature | None:
        """The input, where there is one and it is of numbers: what a body of one array is."""

    @property
    def image(self) -> ImageInput | None:
        """How the only input is made of a picture, where it can be."""

    def example_instances(self, rows: int) -> list[Any]:
        """Rows that the version answers, as `:predict` takes them; ordinary values, always the same."""

    def example_tensors(self, rows: int) -> list[Tensor]:
        """The same rows as V2 inputs."""

    def example_arrays(self, rows: int) -> Arrays:
        """What the engine is given for the same rows."""

    def arrays_of_rows(self, rows: Sequence[Any]) -> Arrays:
        """What the engine is given for instances of `:predict`, at least one.

        Raises:
            BadRequest: an instance is not of the model's make.
            BadData: a value cannot be computed with; names row and column.
        """

    def arrays_of_tensors(self, tensors: Sequence[Tensor]) -> Arrays:
        """What the engine is given for V2 inputs.

        Raises:
            BadRequest: an input is missing, unknown, or of another datatype or shape.
            BadData: a value cannot be computed with; names row and column.
        """

    def tensors(self, outputs: Arrays, rows: int, names: Sequence[str]) -> list[Tensor]:
        """The V2 outputs of these names, for the engine's answer.

        Raises:
            PredictionNotFinite: what they are computed from is NaN or infinite.
            ValueError: the answer has another shape than the program's signature says.
        """

    def predictions(self, outputs: Arrays, rows: int) -> dict[str, Any]:
        """The body of `:predict` for the engine's answer, without the name of the model. Raises as `tensors` does."""

    def class_labels(self, output: str) -> Sequence[str]:
        """Names of the classes that an output has one number of each for; none where they have no names."""


def by_name(tensors: Sequence[Tensor], inputs: Sequence[TensorSignature]) -> Mapping[str, Tensor]:
    """V2 inputs by name. Raises BadRequest unless there is exactly one for each of the model's."""
    given = {tensor.name: tensor for tensor in tensors}
    expected = {signature.name: None for signature in inputs}
    if unknown := given.keys() - expected.keys():
        raise BadRequest(f"input '{min(unknown)}' is not one of {listed(list(expected))}")
    if missing := [name for name in expected if name not in given]:
        raise BadRequest(f"input '{missing[0]}' is missing; this model takes {listed(list(expected))}")
    return given


def listed(names: Sequence[str]) -> str:
    """Names as they stand in a sentence, not too many."""
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
