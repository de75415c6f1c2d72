"""OpenVINO as an engine: reads ONNX files; with bfloat16 several times faster where the CPU has instructions for it.

Knows ONNX files and nothing of who asks. Three settings are always said, because their defaults depend on the machine: the
precision (on a CPU with AMX it would become bfloat16 by itself), the number of threads, and that none is bound to a core (two
processes in one pod would choose the same one).

For every number of rows that it has not seen OpenVINO prepares the program, which takes as long as a hundred runs of a small
one. So batches are run in pieces of sizes that were prepared when the version was loaded.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import openvino
from openvino import properties
from openvino.properties import hint, streams

from windlass_infer.engine import PREPARED_ROWS, Arrays, EngineSignature, TensorSignature
from windlass_infer.engines.failures import broken, first_line
from windlass_infer.engines.machine import THREADS

Precision = Literal["f32", "bf16"]

DEVICE = "CPU"

# OpenVINO's names of element types, in the words of the Open Inference Protocol.
DATATYPES = {
    "boolean": "BOOL",
    "u8": "UINT8",
    "u16": "UINT16",
    "u32": "UINT32",
    "u64": "UINT64",
    "i8": "INT8",
    "i16": "INT16",
    "i32": "INT32",
    "i64": "INT64",
    "f16": "FP16",
    "f32": "FP32",
    "f64": "FP64",
}


class OpenVinoEngine:
    """A compiled model from one ONNX file whose inputs and outputs are tensors with free rows."""

    name = "openvino"
    platform = "openvino_onnx"

    def __init__(self, program: Path, variant: str = "openvino", precision: Precision = "f32") -> None:
        self.variant = variant
        settings = {
            hint.inference_precision: getattr(openvino.Type, precision),
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            hint.enable_cpu_pinning: False,
            properties.inference_num_threads: THREADS,
            streams.num: streams.Num(1),
        }
        try:
            model = openvino.Core().compile_model(program, DEVICE, settings)
        except Exception as error:  # the library raises RuntimeError and its kin, with pages of source lines
            raise broken(f"OpenVINO cannot load {program.name}: {_sentence(error)}") from error
        self.signature = EngineSignature(
            inputs=tuple(_tensor(port, "input") for port in model.inputs),
            outputs=tuple(_tensor(port, "output") for port in model.outputs),
        )
        self._request = model.create_infer_request()
        self._outputs = list(zip(self.signature.outputs, model.outputs, strict=True))

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs; see Engine."""
        rows = len(next(iter(inputs.values())))
        sizes = pieces(rows)
        if len(sizes) == 1:
            return self._run(inputs)
        parts: list[Arrays] = []
        start = 0
        for size in sizes:
            parts.append(self._run({name: values[start : start + size] for name, values in inputs.items()}))
            start += size
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, inputs: Arrays) -> Arrays:
        # Inputs are read where they lie; outputs are copied, because the request writes the next ones into the same memory.
        results = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        return {signature.name: results[port] for signature, port in self._outputs}

    def close(self) -> None:
        """Drop the compiled model and with it the weights."""
        del self._request, self._outputs


def pieces(rows: int) -> list[int]:
    """Prepared sizes that make up so many rows, the largest first.

    >>> pieces(45)
    [32, 8, 5]
    """
    sizes: list[int] = []
    for size in reversed(PREPARED_ROWS):
        times, rows = divmod(rows, size)
        sizes += [size] * times
    return sizes


def _tensor(port: openvino.ConstOutput, kind: str) -> TensorSignature:
    """The signature of one input or output; a size that is not fixed is one that each request chooses."""
    shape, datatype, name = port.partial_shape, port.element_type.to_string(), port.any_name
    sizes = tuple(-1 if size.is_dynamic else size.get_length() for size in shape) if shape.rank.is_static else ()
    if datatype not in DATATYPES or not sizes or sizes[0] != -1:
        found = f"{kind} '{name}' of the program is {datatype} {shape}"
        raise broken(f"{found}; it must be a tensor whose first dimension, the rows, is free")
    return TensorSignature(name, DATATYPES[datatype], sizes)


def _sentence(error: Exception) -> str:
    """OpenVINO's first lines name its own source files; what went wrong follows."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return first_line(Exception((said or lines or [type(error).__name__])[0]))
