"""ONNX Runtime as an engine: exact float32 on a CPU, the default. Knows ONNX files and nothing of who asks.

One process serves with one thread: a batch is the unit of work, and a pod is scaled by adding pods. More intra-op threads than
the pod has cores would only make them wait for one another.
"""

from pathlib import Path

import onnxruntime

from windlass_core.errors import BadData
from windlass_infer.engine import EngineSignature, Floats, Outputs

THREADS = 1
# ONNX Runtime's own scale: 0 verbose to 4 fatal. Warnings about graphs are for who exports, not for who serves.
LOG_SEVERITY_ERROR = 3


class OnnxRuntimeEngine:
    """A session on one ONNX file with one float32 input of shape [rows, features]."""

    name = "onnxruntime_onnx"

    def __init__(self, program: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = THREADS
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = LOG_SEVERITY_ERROR
        try:
            self._session = onnxruntime.InferenceSession(str(program), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises a dozen unrelated types for a bad file
            raise _broken(f"ONNX Runtime cannot load {program.name}: {_first_line(error)}") from error
        self.signature = _signature(self._session)
        self._input = self._session.get_inputs()[0].name
        self._outputs = list(self.signature.outputs)

    def run(self, features: Floats) -> Outputs:
        """All outputs; see Engine."""
        return dict(zip(self._outputs, self._session.run(self._outputs, {self._input: features}), strict=True))

    def close(self) -> None:
        """Drop the session and with it the weights."""
        del self._session


def _signature(session: onnxruntime.InferenceSession) -> EngineSignature:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise _broken(f"the program has {len(inputs)} inputs; it must have one, float32 [rows, features]")
    outputs = {output.name: _width(output, "output") for output in session.get_outputs()}
    return EngineSignature(features=_width(inputs[0], "input"), outputs=outputs)


def _width(tensor: onnxruntime.NodeArg, kind: str) -> int:
    shape = tensor.shape
    if tensor.type != "tensor(float)" or len(shape) != 2 or not isinstance(shape[1], int) or isinstance(shape[0], int):
        found = f"{kind} '{tensor.name}' of the program is {tensor.type} {shape}"
        raise _broken(f"{found}; it must be tensor(float) [rows, width] with free rows")
    return shape[1]


def _broken(message: str) -> BadData:
    return BadData(message, reason="ModelLoadFailed")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
