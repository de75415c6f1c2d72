"""Versions with a fitted transform: rows of columns in, labels or quantities out.

It holds the transform, the classes and the names of everything, and translates both ways:

    rows, columns or tensors  ->  features, float32 [rows, features]  ->  (engine)  ->  predictions or tensors

Pure and without state; knows no HTTP, no queue and no store.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windlass_core.errors import BadData
from windlass_core.manifests import ModelContent
from windlass_infer.datatypes import BOOL, BYTES, DATATYPES, NUMERIC, Tensor, texts
from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.errors import BadRequest, PredictionNotFinite
from windlass_infer.predictor import ServedVersion, by_name
from windlass_preprocess.features import CategoricalFeature, ClassLabel, Feature, NumericFeature
from windlass_preprocess.transform import Instance, Transform
from windlass_preprocess.values import ColumnValues

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


class TabularPredictor:
    """Translates for one version; see Predictor.

    Raises:
        BadData: the transform, the manifest and the program do not fit one another.
    """

    # A table's cell is no picture.
    image = None

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
        """One matrix where all columns are numbers, else one input a column."""
        if self.numeric:
            return (TensorSignature(FEATURES, "FP32", (-1, len(self.transform.features))),)
        return tuple(TensorSignature(feature.column, _DATATYPES[feature.type], (-1, 1)) for feature in self.transform.features)

    @cached_property
    def outputs(self) -> tuple[TensorSignature, ...]:
        """The label and one number a class, or the quantity."""
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
    def only_input(self) -> TensorSignature | None:
        """The matrix of all columns, where there is one."""
        return self.inputs[0] if self.numeric else None

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """The types of the columns by their names, in order."""
        return {feature.column: feature.type for feature in self.transform.features}

    def example_instances(self, rows: int) -> list[dict[str, Any]]:
        """Rows by column name; ordinary values, not taken from the data."""
        return [{feature.column: _example(feature) for feature in self.transform.features}] * rows

    def example_tensors(self, rows: int) -> list[Tensor]:
        """The same rows as V2 inputs."""
        values = self.example_instances(1)[0]
        if self.numeric:
            return [Tensor(FEATURES, "FP32", np.array([list(values.values())] * rows, dtype=np.float32))]
        types = {signature.name: DATATYPES[signature.datatype].dtype or object for signature in self.inputs}
        return [
            Tensor(name, signature.datatype, np.array([[values[name]]] * rows, dtype=types[name]))
            for name, signature in zip(types, self.inputs, strict=True)
        ]

    def example_arrays(self, rows: int) -> Arrays:
        """What the engine is given for the same rows."""
        return self.arrays_of_rows(self.example_instances(rows))

    def arrays_of_rows(self, rows: Sequence[Instance]) -> Arrays:
        """Features of rows by name or in the order of the columns; see Predictor."""
        return {self._input: self.transform.apply_rows(rows)}

    def arrays_of_columns(self, columns: Mapping[str, ColumnValues]) -> Arrays:
        """Features of columns of equal length. Raises BadData, naming row and column."""
        return {self._input: self.transform.apply_columns(columns)}

    def arrays_of_tensors(self, tensors: Sequence[Tensor]) -> Arrays:
        """Features of V2 inputs; see Predictor."""
        given = by_name(tensors, self.inputs)
        if self.numeric:
            return {self._input: self.transform.apply_matrix(_matrix(given[FEATURES], self.inputs[0]))}
        return self.arrays_of_columns({signature.name: _column(given[signature.name], signature) for signature in self.inputs})

    def tensors(self, outputs: Arrays, rows: int, names: Sequence[str]) -> list[Tensor]:
        """The V2 outputs; see Predictor."""
        answer = self._checked(outputs, rows)
        return [self._tensor(name, answer) for name in names]

    def predictions(self, outputs: Arrays, rows: int) -> dict[str, Any]:
        """For each row the label as it stands in the data, with one number a class beside it, or the quantity."""
        answer = self._checked(outputs, rows)
        if self.task == "regression":
            return {"predictions": np.ascontiguousarray(answer[:, 0])}
        labels = [self.classes[index] for index in answer.argmax(axis=1).tolist()]
        return {"predictions": labels, "probabilities": np.ascontiguousarray(answer), "classes": self.classes}

    def class_labels(self, output: str) -> Sequence[str]:
        """The classes as text, for the probabilities."""
        return [str(label) for label in self.classes] if output == PROBABILITIES else []

    def _checked(self, outputs: Arrays, rows: int) -> Floats:
        """The model's answer for `rows` rows, [rows, width], all of it finite."""
        answer = outputs[self._output]
        if answer.shape != (rows, self._width):
            raise ValueError(f"the program answered {answer.shape} for {rows} rows; it must be {(rows, self._width)}")
        if not np.isfinite(answer).all():
            row = int(np.argwhere(~np.isfinite(answer))[0][0])
            raise PredictionNotFinite(f"row {row}: the model answers no finite number; a value of the row may be far off")
        return answer

    def _tensor(self, name: str, answer: Floats) -> Tensor:
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
        if self.task is None:
            raise BadData(
                "the version has a transform, but its manifest does not say whether it classifies or tells quantities"
            )
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
    return (texts(tensor) if tensor.datatype == BYTES else tensor.values).reshape(-1)


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
