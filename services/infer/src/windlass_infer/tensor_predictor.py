"""Versions without a transform: tensors go to the program as they are, once they are seen to be what it takes.

Checked are names, datatypes, ranks, fixed dimensions and, where the manifest has them, the smallest and the largest value.
Pure and without state; knows no HTTP, no queue and no store.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windlass_core.errors import BadData
from windlass_core.manifests import ImageDescription, ModelContent, TensorDescription
from windlass_infer.datatypes import BF16, BOOL, BYTES, DATATYPES, NUMERIC, Tensor, from_json, shown, texts
from windlass_infer.encoding import json_values
from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.errors import BadRequest
from windlass_infer.predictor import ImageInput, ServedVersion, by_name, listed

# A dimension that each request chooses has this size in examples.
EXAMPLE_SIZE = 8
# Short in JSON, different from one another, and between 0 and 1, where most models are at home.
EXAMPLE_NUMBERS = np.arange(10) / 10
EXAMPLE_TEXT = "text"

_IMAGE_DATATYPES = frozenset({"UINT8", "FP16", "FP32", "FP64"})
_IMAGE_RANK = 4
_CHANNELS = (1, 3, 4)
# 16-bit floats have no form in JSON by the protocol; `:predict`, which is ours, takes and gives them as FP32.
_WIDENED = {"FP16": "FP32", BF16: "FP32"}


class TensorPredictor:
    """Translates for one version; see Predictor.

    Raises:
        BadData: the manifest and the program do not fit one another.
    """

    def __init__(self, version: ServedVersion, content: ModelContent, signature: EngineSignature) -> None:
        self.version = version
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self.output_names = tuple(output.name for output in signature.outputs)
        self._limits = _limits(content.inputs, signature.inputs)
        self.image = _image(self.only_input, content.image)

    @cached_property
    def only_input(self) -> TensorSignature | None:
        """The input, where there is one and it is not of text."""
        return self.inputs[0] if len(self.inputs) == 1 and self.inputs[0].datatype != BYTES else None

    def example_instances(self, rows: int) -> list[Any]:
        """Rows as `:predict` takes them."""
        lists = {tensor.name: tensor.values.tolist() for tensor in self.example_tensors(rows)}
        if len(lists) == 1:
            return next(iter(lists.values()))
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]

    def example_tensors(self, rows: int, sized: Arrays | None = None) -> list[Tensor]:
        """The same rows as V2 inputs; of the sizes that the inputs in `sized` have, where it is given."""
        shapes = {one.name: sized[one.name].shape if sized else _example_shape(one) for one in self.inputs}
        return [
            Tensor(one.name, one.datatype, _example(one, (rows, *shapes[one.name][1:]), *self._limits[one.name]))
            for one in self.inputs
        ]

    def example_arrays(self, rows: int, sized: Arrays | None = None) -> Arrays:
        """What the engine is given for the same rows; of the sizes of `sized`, likewise."""
        return self.arrays_of_tensors(self.example_tensors(rows, sized))

    def arrays_of_rows(self, rows: Sequence[Any]) -> Arrays:
        """Nested lists where there is one input, else objects by input name; see Predictor."""
        if len(self.inputs) == 1:
            return self.arrays_of_tensors([_tensor_of_rows(self.inputs[0], rows)])
        names = [signature.name for signature in self.inputs]
        for number, row in enumerate(rows):
            if not isinstance(row, dict) or row.keys() != set(names):
                raise BadRequest(
                    f"instance {number} (counted from 0) must be an object with one value each for {listed(names)}"
                )
        return self.arrays_of_tensors([_tensor_of_rows(one, [row[one.name] for row in rows]) for one in self.inputs])

    def arrays_of_tensors(self, tensors: Sequence[Tensor]) -> Arrays:
        """The tensors themselves, without a copy; see Predictor."""
        only = self.inputs[0]
        if len(tensors) == len(self.inputs) == 1 and tensors[0].name == only.name:
            return {only.name: _fitting(tensors[0], only, *self._limits[only.name])}
        given = by_name(tensors, self.inputs)
        arrays = {one.name: _fitting(given[one.name], one, *self._limits[one.name]) for one in self.inputs}
        if len(set(map(len, arrays.values()))) > 1:
            rows = {name: len(values) for name, values in arrays.items()}
            raise BadRequest(f"all inputs must have as many rows, but they have {', '.join(f'{n} {rows[n]}' for n in rows)}")
        return arrays

    def tensors(self, outputs: Arrays, rows: int, names: Sequence[str]) -> list[Tensor]:
        """The V2 outputs; see Predictor. Numbers that are not finite stand as they are: some models mean them."""
        return [Tensor(name, self._by_name[name].datatype, self._output(outputs, rows, name)) for name in names]

    def predictions(self, outputs: Arrays, rows: int) -> dict[str, Any]:
        """For each row the output as nested lists, or an object by output name where there are several."""
        tensors = self.tensors(outputs, rows, self.output_names)
        values = {tensor.name: json_values(_widened(tensor)) for tensor in tensors}
        if len(values) == 1:
            return {"predictions": next(iter(values.values()))}
        return {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}

    def class_labels(self, output: str) -> Sequence[str]:  # noqa: ARG002  # as Predictor has it
        """None: the manifest of a tensor version names no classes."""
        return ()

    @cached_property
    def _by_name(self) -> Mapping[str, TensorSignature]:
        return {output.name: output for output in self.outputs}

    def _output(self, outputs: Arrays, rows: int, name: str) -> NDArray[Any]:
        values, signature = outputs[name], self._by_name[name]
        if not _has_shape(values.shape, signature) or len(values) != rows:
            raise ValueError(f"the program answered {name} {values.shape} for {rows} rows; it must be {signature}")
        return values


def _fitting(tensor: Tensor, signature: TensorSignature, minimum: float | None, maximum: float | None) -> NDArray[Any]:
    if tensor.datatype != signature.datatype:
        raise BadRequest(f"input '{tensor.name}' takes {signature.datatype}, not {tensor.datatype}")
    values = tensor.values
    if not _has_shape(values.shape, signature) or not values.size:
        raise BadRequest(f"input '{tensor.name}' has shape {list(values.shape)}; it must be {signature}, none of them 0")
    if minimum is not None and not (values >= minimum).all():
        raise _outside(tensor, values, np.less, minimum, "at least")
    if maximum is not None and not (values <= maximum).all():
        raise _outside(tensor, values, np.greater, maximum, "at most")
    return texts(tensor) if signature.datatype == BYTES else values


def _outside(
    tensor: Tensor, values: NDArray[Any], beyond: Callable[[NDArray[Any], float], NDArray[Any]], bound: float, kind: str
) -> BadData:
    at = tuple(int(index) for index in np.argwhere(beyond(values, bound) | (values != values))[0])
    return BadData(f"input '{tensor.name}': the value at {list(at)} is {values[at]}, but it must be {kind} {bound:g}")


def _has_shape(shape: tuple[int, ...], signature: TensorSignature) -> bool:
    wanted = signature.shape
    if len(shape) != len(wanted):
        return False
    # Mostly nothing but the rows is free, and the rest need only be compared.
    return (wanted[0] == -1 and shape[1:] == wanted[1:]) or all(map(_fits, wanted, shape))


def _fits(wanted: int, given: int) -> bool:
    return wanted in (-1, given)


def _tensor_of_rows(signature: TensorSignature, rows: Sequence[Any]) -> Tensor:
    """One input of instances as JSON gives them: each the values of one row, nested as the row's shape says."""
    sizes = [len(rows)]
    inner: Any = rows[0]
    for _ in signature.shape[1:]:
        if not isinstance(inner, list) or not inner:
            raise BadRequest(f"instance 0 (counted from 0): {shown(rows[0])} is no row of {signature}, as nested lists")
        sizes.append(len(inner))
        inner = inner[0]
    name = signature.datatype
    tensor = from_json(signature.name, DATATYPES[_WIDENED.get(name, name)], tuple(sizes), list(rows))
    if name != "FP16":
        return Tensor(signature.name, name, tensor.values)
    with np.errstate(over="ignore"):
        values = tensor.values.astype(np.float16)
    if not np.isfinite(values).all():
        raise BadRequest(f"tensor '{signature.name}': a value lies beyond the range of FP16")
    return Tensor(signature.name, name, values)


def _widened(tensor: Tensor) -> Tensor:
    datatype = _WIDENED.get(tensor.datatype)
    return Tensor(tensor.name, datatype, tensor.values.astype(np.float32)) if datatype else tensor


def _example_shape(signature: TensorSignature) -> tuple[int, ...]:
    return tuple(EXAMPLE_SIZE if size < 0 else size for size in signature.shape)


def _example(signature: TensorSignature, shape: tuple[int, ...], minimum: float | None, maximum: float | None) -> NDArray[Any]:
    dtype = DATATYPES[signature.datatype].dtype
    if dtype is None:
        return np.full(shape, EXAMPLE_TEXT, dtype=object)
    numbers: NDArray[Any] = np.arange(2) if dtype.kind in "iu" else EXAMPLE_NUMBERS
    if signature.datatype == BOOL:
        numbers = np.array([False, True])
    elif minimum is not None or maximum is not None:
        numbers = np.clip(numbers, minimum, maximum)
    return np.resize(numbers.astype(dtype), shape)


Limits = tuple[float | None, float | None]


def _limits(described: Sequence[TensorDescription], inputs: Sequence[TensorSignature]) -> Mapping[str, Limits]:
    """The smallest and the largest value of each input, as far as the manifest has them."""
    limits = {one.name: (one.minimum, one.maximum) for one in described}
    for signature in inputs:
        if limits.get(signature.name, (None, None)) != (None, None) and signature.datatype not in NUMERIC:
            raise BadData(f"the manifest bounds the values of input '{signature.name}', which is {signature.datatype}")
    return {signature.name: limits.get(signature.name, (None, None)) for signature in inputs}


def _image(signature: TensorSignature | None, described: ImageDescription | None) -> ImageInput | None:
    """How a picture becomes the only input, where its shape is that of pictures."""
    fits = signature and len(signature.shape) == _IMAGE_RANK and signature.datatype in _IMAGE_DATATYPES
    if not signature or not fits or not {signature.shape[1], signature.shape[3]} & set(_CHANNELS):
        if described is not None:
            raise BadData("the manifest says how pictures are scaled, but the program's input is no picture")
        return None
    channels_last = signature.shape[1] not in _CHANNELS
    _, *row = signature.shape
    channels, height, width = (row[2], row[0], row[1]) if channels_last else (row[0], row[1], row[2])
    mean, deviation = (described.mean, described.deviation) if described else ([0.0], [1.0])
    if len(mean) not in (1, channels) or len(deviation) not in (1, channels):
        raise BadData(f"the manifest scales pictures by another number of channels than the {channels} of the program")
    return ImageInput(signature, channels_last, channels, height, width, tuple(mean), tuple(deviation))
