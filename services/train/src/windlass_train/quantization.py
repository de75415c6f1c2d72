"""An ONNX graph in 8-bit integers, for services whose spec allows a loss. Knows nothing of torch.

Weights become 8-bit, one scale for each output channel. How activations become so is what ONNX Runtime advises: in a graph
with convolutions by ranges that are measured on example rows beforehand (any engine then computes in integers from one layer to
the next), in any other by ranges that each run measures (attention and embeddings keep more of their precision so). How much
is lost is measured where the graph is served, against what torch answered: also to rows whose ranges were not measured.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from windlass_core.resources.model import OmittedFormat

Arrays = Mapping[str, NDArray[Any]]

CONVOLUTION = "Conv"
PRODUCTS = ["MatMul", "Gemm"]
# Ranges are measured on every second row; the others, which a version without a Dataset keeps too, show what is lost on rows
# beyond those ranges.
CALIBRATION_STEP = 2
# Rows that are run at once to measure ranges: what a graph holds meanwhile stays small.
CALIBRATION_BATCH = 16
# Characters of an error: its first line says what, pages of graph follow.
ERROR_LENGTH = 200

log = logging.getLogger(__name__)


def quantize(graph: Path, inputs: Arrays, path: Path) -> OmittedFormat | None:
    """Write the graph in 8-bit integers, or say why there is none.

    Args:
        graph: ONNX in float32.
        inputs: example rows, as many of each.
        path: where the other graph goes.

    Raises:
        OSError: the folder's disk is full, or the like.
    """
    try:
        model = onnx.load(graph)
        operators = {node.op_type for node in model.graph.node}
        if not operators & {CONVOLUTION, *PRODUCTS}:
            return _omitted("it has neither convolutions nor matrix products")
        # Shapes of weights as the exporter noted them, of which the quantizer turns some round and then finds them wrong.
        del model.graph.value_info[:]
        add_pre_process_metadata(model)  # the exporter has folded constants; without the mark each run is advised to
        if CONVOLUTION in operators:
            quantize_static(
                model,
                path,
                _Rows({name: values[::CALIBRATION_STEP] for name, values in inputs.items()}),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                # Without a sign, as the instructions for 8-bit products take one of the two: several times faster.
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=[CONVOLUTION, *PRODUCTS],
            )
        else:
            quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=PRODUCTS)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session.run(None, {name: values[:CALIBRATION_BATCH] for name, values in inputs.items()})
    except (OSError, MemoryError):
        raise  # the pod's trouble and not the model's
    except Exception as error:  # the quantizer raises anything for a graph that it cannot take
        log.warning("quantizing failed", exc_info=error)
        path.unlink(missing_ok=True)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:ERROR_LENGTH]
        return _omitted(f"ONNX Runtime could not quantize it ({first})")
    return None


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
    """Example rows, a batch at a time."""

    def __init__(self, inputs: Arrays) -> None:
        self._batches = self._all(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)

    @staticmethod
    def _all(inputs: Arrays) -> Iterator[dict[str, NDArray[Any]]]:
        for start in range(0, len(next(iter(inputs.values()))), CALIBRATION_BATCH):
            yield {name: values[start : start + CALIBRATION_BATCH] for name, values in inputs.items()}


def _omitted(why: str) -> OmittedFormat:
    message = f"There is no graph in 8-bit integers: {why}. It is served by its other formats."
    return OmittedFormat(format="onnx-int8", reason="NotQuantized", message=message)
