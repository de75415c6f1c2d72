"""ONNX Runtime as an engine: exact float32 on a CPU, the default. Knows ONNX files and nothing of who asks."""

from pathlib import Path

import onnxruntime

from windlass_infer.engine import Arrays, EngineSignature, TensorSignature
from windlass_infer.engines.failures import broken, first_line
from windlass_infer.engines.machine import THREADS

# ONNX Runtime's own scale: 0 verbose to 4 fatal. Warnings about graphs are for who exports, not for who serves.
LOG_SEVERITY_ERROR = 3

# ONNX Runtime's names of element types, in the words of the Open Inference Protocol.
DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxRuntimeEngine:
    """A session on one ONNX file whose inputs and outputs are tensors with free rows."""

    name = "onnxruntime"
    platform = "onnxruntime_onnx"

    def __init__(self, program: Path, variant: str = "onnxruntime") -> None:
        self.variant = variant
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = THREADS
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = LOG_SEVERITY_ERROR
        try:
            self._session = onnxruntime.InferenceSession(str(program), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises a dozen unrelated types for a bad file
            raise broken(f"ONNX Runtime cannot load {program.name}: {first_line(error)}") from error
        self.signature = EngineSignature(
            inputs=tuple(_tensor(node, "input") for node in self._session.get_inputs()),
            outputs=tuple(_tensor(node, "output") for node in self._session.get_outputs()),
        )
        self._outputs = [output.name for output in self.signature.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs; see Engine."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))

    def close(self) -> None:
        """Drop the session and with it the weights."""
        del self._session


def _tensor(node: onnxruntime.NodeArg, kind: str) -> TensorSignature:
    """The signature of one input or output. A size that ONNX gives by a name is one that each request chooses."""
    shape = node.shape
    if node.type not in DATATYPES or not shape or isinstance(shape[0], int):
        found = f"{kind} '{node.name}' of the program is {node.type} {shape}"
        raise broken(f"{found}; it must be a tensor whose first dimension, the rows, is free")
    sizes = tuple(size if isinstance(size, int) else -1 for size in shape)
    return TensorSignature(node.name, DATATYPES[node.type], sizes)
