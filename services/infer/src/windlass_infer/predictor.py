"""A loaded version, as callers see it: rows of columns in, labels or quantities out. The engine in between is somebody else's.

It holds the fitted transform, the classes and the names of everything, and translates both ways:

    rows or tensors  ->  features, float32 [rows, features]   ->  (engine)  ->  outputs  ->  predictions or tensors

Pure and without state; knows no HTTP, no queue and no store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windlass_core.errors import BadData
from windlass_core.manifests import ModelContent
from windlass_infer.datatypes import BOOL, BYTES, NUMERIC, Tensor
from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.errors import BadRequest, PredictionNotFinite
from windlass_infer.protocol import RawInput
from windlass_preprocess.features import CategoricalFeature, ClassLabel, Feature, NumericFeature
from windlass_preprocess.transform import Instance, Transform

# Name of the one V2 input of a model whose columns are all numbers.
FEATURES = "features"
# The engine's outputs, by task, and what V2 calls them.
PROBABILITIES = "probabilities"
PREDICTION = "prediction"
LABEL = "label"

# Column types that need no text: a row of them is a row of numbers.
_PLAIN = frozenset({"int64", "float64"})
_DATATYPES = {"int64": "INT64", "float64": "FP64", "bool": BOOL, "string": BYTES, "date": BYTES, "timestamp": BYTES}


Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ServedVersion:
    """Which version answers: the name it answers under, its number and digest, and the Model it is of."""

    name: str
    number: int
    digest: str
    model: str


class Predictor:
    """Translates for one version.

    Raises:
        BadData: the transform, the manifest and the program do not fit one another.
    """

    def __init__(self, version: ServedVersion, content: ModelContent, transform: Transform, signature: EngineSignature) -> None:
        self.version = version
        self.task = content.task
        self.label = content.label
        self.transform = transform
        self.classes: tuple[bool | int | str, ...] = ()
        if isinstance(transform.label, ClassLabel):
            self.classes = tuple(transform.label.classes)
        self._output = PROBABILITIES if self.task == "classification" else PREDICTION
        self._width = len(self.classes) if self.task == "classification" else 1
        self._fits(content, signature)
        self._input = signature.inputs[0].name

    @cached_property
    def numeric(self) -> bool:
        """Whether every column is a plain number, so that V2 takes one tensor of all."""
        return all(isinstance(feature, NumericFeature) and feature.type in _PLAIN for feature in self.transform.features)

    @cached_property
    def inputs(self) -> tuple[TensorSignature, ...]:
        """What V2 metadata says of the inputs."""
        if self.numeric:
            return (TensorSignature(FEATURES, "FP32", (-1, len(self.transform.features))),)
        return tuple(TensorSignature(feature.column, _DATATYPES[feature.type], (-1, 1)) for feature in self.transform.features)

    @cached_property
    def outputs(self) -> tuple[TensorSignature, ...]:
        """What V2 metadata says of the outputs."""
        if self.task == "regression":
            return (TensorSignature(PREDICTION, "FP32", (-1,)),)
        return (
            TensorSignature(LABEL, self._label_datatype, (-1,)),
            TensorSignature(PROBABILITIES, "FP32", (-1, len(self.classes))),
        )

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in order."""
        return tuple(output.name for output in self.outputs)

    @cached_property
    def raw_input(self) -> RawInput | None:
        """How a body of raw values is read, if it can be."""
        return RawInput(FEATURES, "FP32", len(self.transform.features)) if self.numeric else None

    def example_row(self) -> dict[str, Any]:
        """A row that this version answers: ordinary values, not taken from the data."""
        return {feature.column: _example(feature) for feature in self.transform.features}

    def example_arrays(self, rows: int) -> Arrays:
        """What the engine is given for `rows` times the example row."""
        return self.arrays_of_rows([self.example_row()] * rows)

    def arrays_of_rows(self, rows: Sequence[Instance]) -> Arrays:
        """Features of rows by name or in the order of the columns. Raises BadData, naming row and column."""
        return {self._input: self.transform.apply_rows(rows)}

    def arrays_of_tensors(self, tensors: Sequence[Tensor]) -> Arrays:
        """Features of V2 inputs.

        Raises:
            BadRequest: an input is missing, unknown, or of another datatype or shape.
            BadData: a value cannot be computed with; names row and column.
        """
        given = {tensor.name: tensor for tensor in tensors}
        expected = {signature.name: signature for signature in self.inputs}
        if unknown := given.keys() - expected.keys():
            raise BadRequest(f"input '{min(unknown)}' is not one of {_listed(expected)}")
        if missing := [name for name in expected if name not in given]:
            raise BadRequest(f"input '{missing[0]}' is missing; this model takes {_listed(expected)}")
        if self.numeric:
            features = self.transform.apply_matrix(_matrix(given[FEATURES], expected[FEATURES]))
        else:
            columns = {name: _column(given[name], signature) for name, signature in expected.items()}
            features = self.transform.apply_columns(columns)
        return {self._input: features}

    def check(self, outputs: Arrays, rows: int) -> Floats:
        """The model's answer for `rows` rows, [rows, width].

        Raises:
            PredictionNotFinite: a number of it is NaN or infinite.
            ValueError: it has another shape than the program's signature says.
        """
        answer = outputs[self._output]
        if answer.shape != (rows, self._width):
            raise ValueError(f"the program answered {answer.shape} for {rows} rows; it must be {(rows, self._width)}")
        if not np.isfinite(answer).all():
            row = int(np.argwhere(~np.isfinite(answer))[0][0])
            raise PredictionNotFinite(f"row {row}: the model answers no finite number; a value of the row may be far off")
        return answer

    def predictions(self, answer: Floats) -> list[bool | int | str] | Floats:
        """For each row the label as it stands in the data, or the quantity."""
        if self.task == "regression":
            return answer[:, 0]
        return [self.classes[index] for index in answer.argmax(axis=1).tolist()]

    def tensor(self, name: str, answer: Floats) -> Tensor:
        """The V2 output of that name."""
        if name == PROBABILITIES:
            return Tensor(PROBABILITIES, "FP32", answer)
        if name == PREDICTION:
            return Tensor(PREDICTION, "FP32", answer[:, 0])
        return Tensor(LABEL, self._label_datatype, self._class_array[answer.argmax(axis=1)])

    @cached_property
    def _label_datatype(self) -> str:
        assert isinstance(self.transform.label, ClassLabel)  # noqa: S101  # _fits has checked it
        return _DATATYPES[self.transform.label.type]

    @cached_property
    def _class_array(self) -> NDArray[Any]:
        types: dict[str, type] = {"INT64": np.int64, BOOL: np.bool_, BYTES: object}
        return np.array(self.classes, dtype=types[self._label_datatype])

    def _fits(self, content: ModelContent, signature: EngineSignature) -> None:
        if (self.task == "classification") != isinstance(self.transform.label, ClassLabel):
            raise BadData(f"the manifest says {self.task}, but the transform's label is of another kind")
        if self.task == "classification" and content.classes is not None and tuple(content.classes) != self.classes:
            raise BadData("the classes of the manifest are not those of the transform")
        expected = f"FP32 [rows, {self.transform.feature_count}]"
        takes = [(tensor.datatype, tensor.shape) for tensor in signature.inputs]
        if takes != [("FP32", (-1, self.transform.feature_count))]:
            raise BadData(f"the program takes {_shown(signature.inputs)}, but the transform makes {expected}")
        answer = TensorSignature(self._output, "FP32", (-1, self._width))
        if answer not in signature.outputs:
            raise BadData(f"the program must answer {answer}, but answers {_shown(signature.outputs)}")


def _shown(tensors: Sequence[TensorSignature]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"


def _matrix(tensor: Tensor, signature: TensorSignature) -> NDArray[Any]:
    if tensor.datatype not in NUMERIC:
        raise BadRequest(f"input '{tensor.name}' takes numbers, for example FP32, not {tensor.datatype}")
    shape = tensor.values.shape
    if len(shape) != 2 or shape[1] != signature.shape[1] or not shape[0]:
        expected = f"[rows, {signature.shape[1]}] with at least one row"
        raise BadRequest(f"input '{tensor.name}' has shape {list(shape)}; it must be {expected}")
    return tensor.values


def _column(tensor: Tensor, signature: TensorSignature) -> NDArray[Any]:
    numeric = signature.datatype in NUMERIC
    if not (tensor.datatype in NUMERIC if numeric else tensor.datatype == signature.datatype):
        raise BadRequest(f"input '{tensor.name}' takes {'numbers' if numeric else signature.datatype}, not {tensor.datatype}")
    shape = tensor.values.shape
    if not shape[0] or shape[1:] not in ((), (1,)):
        raise BadRequest(f"input '{tensor.name}' has shape {list(shape)}; it must be [rows] or [rows, 1] with at least one row")
    return tensor.values.reshape(-1)


def _example(feature: Feature) -> Any:
    if isinstance(feature, CategoricalFeature):
        return feature.categories[0]
    match feature.type:
        case "bool":
            return False
        case "int64":
            return round(feature.offset)
        case "float64":
            return float(f"{feature.offset:.4g}")
        case "date":
            return str(np.datetime64(round(feature.offset), "D"))
        case "timestamp":
            return str(np.datetime64(round(feature.offset), "s"))


def _listed(names: Mapping[str, Any]) -> str:
    shown = list(names)[:10]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
