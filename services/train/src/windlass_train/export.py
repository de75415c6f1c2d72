"""A module in the formats of a Model version: safetensors weights, torch.export program, ONNX in float32 and in 8-bit integers;
and a sample of its answers.

ONNX Runtime is asked for the same rows as torch, and the largest difference is noted. A graph that cannot be made or does not
agree is left out and the cause noted: the version is worth keeping for its other formats. What that means for an alias is not
decided here.
"""

import contextlib
import io
import logging
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from windlass_core.manifests import SAMPLE_INPUT, SAMPLE_OUTPUT, TensorDatatype, TensorDescription
from windlass_core.resources.model import ANSWERS_NOT_FINITE, OmittedFormat
from windlass_train.ahead import compile_ahead
from windlass_train.quantization import quantize
from windlass_train.snapshot import copy_weights

WEIGHTS_FILE, PROGRAM_FILE, ONNX_FILE = "weights.safetensors", "model.pt2", "model.onnx"
INT8_FILE, COMPILED_FILE, SAMPLE_FILE = "model.int8.onnx", "model.aot.pt2", "sample.npz"
# Rows compared between torch and ONNX Runtime.
SAMPLE_ROWS = 256
# Largest difference that float32 sums in another order explain, relative to the largest output (at least 1: probabilities).
TOLERANCE = 1e-4
# Characters of an exporter's error: its first line says what, pages of graph follow.
ERROR_LENGTH = 200

_DATATYPES: Mapping[torch.dtype, TensorDatatype] = {
    torch.bool: "BOOL",
    torch.uint8: "UINT8",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.float16: "FP16",
    torch.float32: "FP32",
    torch.float64: "FP64",
}
_MADE_WITH = ("torch", "onnx", "onnxscript", "onnxruntime", "windlass-train")

# Tensors by name, in the order of the module's parameters or answers.
Tensors = Mapping[str, Tensor]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written into a folder.

    Attributes:
        formats: format to file name.
        omitted: formats that could not be made.
        sample: name of the file with the kept inputs and what the module answers to them.
        onnx_max_abs_difference: None where there is no ONNX graph.
    """

    formats: dict[str, str]
    omitted: list[OmittedFormat]
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    onnx_max_abs_difference: float | None
    sample: str


def export(
    module: nn.Module, inputs: Tensors, outputs: Sequence[str], folder: Path, *, keep: Tensors, ahead: bool = False
) -> Exported:
    """Write a module in all formats, ONNX only if it agrees with torch. The rows, dimension 0 of every tensor, stay free.

    Args:
        module: trained, on the CPU; takes tensors and gives one or a tuple of them.
        inputs: what it is compared on, by the names that callers will use, in the order of its parameters; all have the same
            number of rows, at least 1, of which at most SAMPLE_ROWS are used.
        outputs: names of its answers, in order.
        folder: where the files go.
        keep: inputs that are stored with the version, where anyone who may read it sees them.
        ahead: whether it is compiled for CPUs like this one, too.

    Raises:
        OSError: the folder's disk is full, or the like; another try may do better.
    """
    module.eval()
    inputs = {name: tensor[:SAMPLE_ROWS] for name, tensor in inputs.items()}
    expected = _answers(module, inputs, outputs)
    save_file(copy_weights(module), folder / WEIGHTS_FILE)
    exported = _trace(module, inputs)
    torch.export.save(exported, folder / PROGRAM_FILE)
    formats = {"safetensors": WEIGHTS_FILE, "torch.export": PROGRAM_FILE}
    agreed = _export_onnx(exported, inputs, expected, folder / ONNX_FILE)
    omitted = [agreed] if isinstance(agreed, OmittedFormat) else []
    if omitted:
        log.warning("the version gets no ONNX graph", extra={"reason": omitted[0].reason, "detail": omitted[0].message})
        (folder / ONNX_FILE).unlink(missing_ok=True)
    else:
        formats["onnx"] = ONNX_FILE
        failure = quantize(folder / ONNX_FILE, {name: tensor.numpy() for name, tensor in inputs.items()}, folder / INT8_FILE)
        omitted += [failure] if failure else []
        formats |= {} if failure else {"onnx-int8": INT8_FILE}
    if ahead:
        failure = compile_ahead(exported, folder / COMPILED_FILE)
        omitted += [failure] if failure else []
        formats |= {} if failure else {"aot-inductor": COMPILED_FILE}
    _write_sample(keep, _answers(module, keep, outputs), folder / SAMPLE_FILE)
    return Exported(
        formats=formats,
        omitted=omitted,
        inputs=_described(inputs),
        outputs=_described(expected),
        onnx_max_abs_difference=None if isinstance(agreed, OmittedFormat) else agreed,
        sample=SAMPLE_FILE,
    )


def made_with() -> dict[str, str]:
    """Versions of all that has a part in an export."""
    return {name: installed(name) for name in _MADE_WITH} | {"python": platform.python_version()}


def _answers(module: nn.Module, inputs: Tensors, names: Sequence[str]) -> dict[str, Tensor]:
    with torch.no_grad():
        answer = module(*inputs.values())
    answers = (answer,) if isinstance(answer, Tensor) else tuple(answer)
    return dict(zip(names, answers, strict=True))


def _described(tensors: Tensors) -> list[TensorDescription]:
    return [
        TensorDescription(name=name, datatype=_DATATYPES[tensor.dtype], shape=[-1, *tensor.shape[1:]])
        for name, tensor in tensors.items()
    ]


def _trace(module: nn.Module, inputs: Tensors) -> ExportedProgram:
    # torch takes a batch of 1 in the example for a constant, so it is traced with at least 2 rows.
    example = tuple(torch.cat([tensor[:2], tensor[:2]]) for tensor in inputs.values())
    batch = Dim("batch", min=1)
    # By the parameters' order; with one parameter, too, a tuple of one: a bare dictionary would be taken for their names.
    return torch.export.export(module, example, dynamic_shapes=tuple({0: batch} for _ in example))


def _write_sample(inputs: Tensors, answers: Tensors, path: Path) -> None:
    arrays = {f"{SAMPLE_INPUT}{name}": tensor.numpy() for name, tensor in inputs.items()}
    arrays |= {f"{SAMPLE_OUTPUT}{name}": tensor.numpy() for name, tensor in answers.items()}
    # Typed as if any array could be savez's own option `allow_pickle`, whose name no array has here.
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def _export_onnx(exported: ExportedProgram, inputs: Tensors, expected: Tensors, path: Path) -> float | OmittedFormat:
    """Write the graph; its largest difference from torch, or why it cannot stay."""
    for tensor in expected.values():
        if not torch.isfinite(tensor).all():
            return _not_finite(rows=len(tensor))
    try:
        with _quiet():
            torch.onnx.export(
                exported, dynamo=True, external_data=False, input_names=list(inputs), output_names=list(expected), f=path
            )
        _name_batch(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        answers = session.run(list(expected), {name: tensor.numpy() for name, tensor in inputs.items()})
    except (OSError, MemoryError):
        raise  # the pod's trouble and not the model's: a version never changes, so it must not go without for that
    except Exception as error:  # the exporter and ONNX Runtime raise anything for a model that they cannot take
        log.warning("the export to ONNX failed", exc_info=error)
        return _failed(error)
    return _compared(answers, [tensor.numpy() for tensor in expected.values()])


def _compared(answers: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float | OmittedFormat:
    """The largest difference of all outputs, if it is tolerated."""
    largest = 0.0
    for answer, wanted in zip(answers, expected, strict=True):
        difference = float(np.abs(answer.astype(np.float64) - wanted.astype(np.float64)).max())
        tolerated = TOLERANCE * max(1.0, float(np.abs(wanted.astype(np.float64)).max()))
        # True also where the answer is not a number.
        if not difference <= tolerated:
            return _disagrees(difference, tolerated, rows=len(wanted))
        largest = max(largest, difference)
    return largest


def _failed(error: BaseException) -> OmittedFormat:
    while error.__cause__ is not None:  # the exporter wraps what went wrong in advice to those who write exporters
        error = error.__cause__
    first = (str(error).strip().splitlines() or [""])[0][:ERROR_LENGTH]
    message = (
        f"The export to ONNX failed ({type(error).__name__}: {first}); train with another model.recipe or model.parameters."
    )
    return OmittedFormat(format="onnx", reason="OnnxExportFailed", message=message)


def _disagrees(difference: float, tolerated: float, *, rows: int) -> OmittedFormat:
    message = (
        f"ONNX Runtime and torch differ by up to {difference:.2g} on {rows} rows of the data, more than the {tolerated:.2g} "
        "that rounding explains. "
        "Very large weights are the usual cause: lower model.parameters.learningRate or set weightDecay, and train again."
    )
    return OmittedFormat(format="onnx", reason="OnnxDisagrees", message=message)


def _not_finite(*, rows: int) -> OmittedFormat:
    message = (
        f"Its answers to some of {rows} rows of the data are no finite numbers, so that no engine can be held against them: "
        "lower model.parameters.learningRate or set weightDecay, and train again."
    )
    return OmittedFormat(format="onnx", reason=ANSWERS_NOT_FINITE, message=message)


def _name_batch(path: Path) -> None:
    """Give the batch dimension a name that people know, and check the graph."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell each of their steps, and warn of torchvision, which nobody here uses."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
