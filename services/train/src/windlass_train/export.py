"""A trained program in the formats of a Model version: safetensors weights, torch.export program, ONNX.

ONNX Runtime is asked for the same rows as torch, and the largest difference is noted. A graph that cannot be made or does not
agree is left out and the cause noted: the version is worth keeping for its other formats. What that means for an alias is not
decided here.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.export import Dim, ExportedProgram

from windlass_core.manifests import TensorDescription
from windlass_core.resources.model import OmittedFormat
from windlass_train.objective import INPUT_NAME, Program
from windlass_train.snapshot import copy_weights

WEIGHTS_FILE, PROGRAM_FILE, ONNX_FILE = "weights.safetensors", "model.pt2", "model.onnx"
# Rows compared between torch and ONNX Runtime.
SAMPLE_ROWS = 256
# Largest difference that float32 sums in another order explain, relative to the largest output (at least 1: probabilities).
TOLERANCE = 1e-4
# Of an exporter's error: its first line says what, pages of graph follow.
ERROR_LENGTH = 200

Floats = NDArray[np.float32]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written into a folder.

    Attributes:
        formats: format to file name.
        omitted: formats that could not be made.
        onnx_max_abs_difference: None where there is no ONNX graph.
    """

    formats: dict[str, str]
    omitted: list[OmittedFormat]
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    onnx_max_abs_difference: float | None


def export(program: Program, sample: Tensor, folder: Path) -> Exported:
    """Write a program in all formats, ONNX only if it agrees with torch.

    Args:
        program: trained, on the CPU.
        sample: float32 [at least 1, features] of the data, at most SAMPLE_ROWS of it are used.
        folder: where the files go.

    Raises:
        OSError: the folder's disk is full, or the like; another try may do better.
    """
    program.eval()
    sample = sample[:SAMPLE_ROWS]
    with torch.no_grad():
        expected = program(sample).numpy()
    save_file(copy_weights(program), folder / WEIGHTS_FILE)
    exported = _trace(program, sample)
    torch.export.save(exported, folder / PROGRAM_FILE)
    formats = {"safetensors": WEIGHTS_FILE, "torch.export": PROGRAM_FILE}
    onnx = _export_onnx(program, exported, sample, expected, folder / ONNX_FILE)
    if isinstance(onnx, OmittedFormat):
        log.warning("the version gets no ONNX graph", extra={"reason": onnx.reason, "detail": onnx.message})
        (folder / ONNX_FILE).unlink(missing_ok=True)
        difference, omitted = None, [onnx]
    else:
        difference, omitted = onnx, []
        formats["onnx"] = ONNX_FILE
    return Exported(
        formats=formats,
        omitted=omitted,
        inputs=[TensorDescription(name=INPUT_NAME, shape=[-1, sample.shape[1]])],
        outputs=[TensorDescription(name=program.output_name, shape=[-1, expected.shape[1]])],
        onnx_max_abs_difference=difference,
    )


def _trace(program: Program, sample: Tensor) -> ExportedProgram:
    # torch takes a batch of 1 in the example for a constant, so it is traced with at least 2 rows.
    example = sample[:2].repeat(2, 1)
    return torch.export.export(program, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))


def _export_onnx(
    program: Program, exported: ExportedProgram, sample: Tensor, expected: Floats, path: Path
) -> float | OmittedFormat:
    """Write the graph; its largest difference from torch, or why it cannot stay."""
    try:
        with _quiet():
            torch.onnx.export(
                exported,
                dynamo=True,
                external_data=False,
                input_names=[INPUT_NAME],
                output_names=[program.output_name],
                f=path,
            )
        _name_batch(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        [answer] = session.run(None, {INPUT_NAME: sample.numpy()})
    except (OSError, MemoryError):
        raise  # the pod's trouble and not the model's: a version never changes, so it must not go without for that
    except Exception as error:  # the exporter and ONNX Runtime raise anything for a model that they cannot take
        log.warning("the export to ONNX failed", exc_info=error)
        return _failed(error)
    difference = float(np.abs(answer - expected).max())
    tolerated = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    # False also where either answer is not a number.
    return difference if difference <= tolerated else _disagrees(difference, tolerated, rows=len(sample))


def _failed(error: Exception) -> OmittedFormat:
    first = (str(error).strip().splitlines() or [""])[0][:ERROR_LENGTH]
    message = (
        f"The export to ONNX failed ({type(error).__name__}: {first}); train with another model.recipe or model.parameters."
    )
    return OmittedFormat(format="onnx", reason="OnnxExportFailed", message=message)


def _disagrees(difference: float, tolerated: float, *, rows: int) -> OmittedFormat:
    message = (
        f"ONNX Runtime and torch differ by up to {difference:.2g} on {rows} rows of the data, and {tolerated:.2g} is tolerated. "
        "Very large weights are the usual cause: lower model.parameters.learningRate or set weightDecay, and train again."
    )
    return OmittedFormat(format="onnx", reason="OnnxDisagrees", message=message)


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
