"""A trained program in the formats of a Model version: safetensors weights, torch.export program, ONNX.

ONNX Runtime is asked for the same rows as torch, and the largest difference is noted; a graph that does not agree is left out,
because the other two formats are enough to serve from.
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
from safetensors.torch import save_file
from torch import Tensor
from torch.export import Dim, ExportedProgram

from windlass_core.manifests import TensorDescription
from windlass_train.objective import INPUT_NAME, Program
from windlass_train.snapshot import copy_weights

WEIGHTS_FILE, PROGRAM_FILE, ONNX_FILE = "weights.safetensors", "model.pt2", "model.onnx"
# Rows compared between torch and ONNX Runtime.
SAMPLE_ROWS = 256
# Largest difference that float32 sums in another order explain, relative to the largest output (at least 1: probabilities).
TOLERANCE = 1e-4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written into a folder.

    Attributes:
        formats: format to file name.
        onnx_max_abs_difference: None where there is no ONNX graph.
    """

    formats: dict[str, str]
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]
    onnx_max_abs_difference: float | None


def export(program: Program, sample: Tensor, folder: Path) -> Exported:
    """Write a program in all formats.

    Args:
        program: trained, on the CPU.
        sample: float32 [at least 1, features] of the data, at most SAMPLE_ROWS of it are used.
        folder: where the files go.
    """
    program.eval()
    sample = sample[:SAMPLE_ROWS]
    with torch.no_grad():
        expected = program(sample).numpy()
    save_file(copy_weights(program), folder / WEIGHTS_FILE)
    exported = _trace(program, sample)
    torch.export.save(exported, folder / PROGRAM_FILE)
    formats = {"safetensors": WEIGHTS_FILE, "torch.export": PROGRAM_FILE}
    difference = _export_onnx(program, exported, sample, expected, folder / ONNX_FILE)
    if difference is not None:
        formats["onnx"] = ONNX_FILE
    return Exported(
        formats=formats,
        inputs=[TensorDescription(name=INPUT_NAME, shape=[-1, sample.shape[1]])],
        outputs=[TensorDescription(name=program.output_name, shape=[-1, expected.shape[1]])],
        onnx_max_abs_difference=difference,
    )


def _trace(program: Program, sample: Tensor) -> ExportedProgram:
    # torch takes a batch of 1 in the example for a constant, so it is traced with at least 2 rows.
    example = sample[:2].repeat(2, 1)
    return torch.export.export(program, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))


def _export_onnx(
    program: Program,
    exported: ExportedProgram,
    sample: Tensor,
    expected: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]",
    path: Path,
) -> float | None:
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
    except Exception as error:  # whatever the exporter raises, the other formats stand
        log.warning("no ONNX graph: the export failed", extra={"detail": str(error)[:1000]}, exc_info=error)
        path.unlink(missing_ok=True)
        return None
    difference = float(np.abs(answer - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        log.warning("no ONNX graph: ONNX Runtime and torch disagree", extra={"maxAbsDifference": difference})
        path.unlink()
        return None
    return difference


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
