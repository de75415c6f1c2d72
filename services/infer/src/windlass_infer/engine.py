"""What runs a model's program: the few methods that the rest of the service knows of an engine.

An engine is used by one thread at a time. It takes named tensors that all have the same number of rows and gives back named
tensors with as many. Knows no requests, no columns and no store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
# Tensors by name. All have the same number of rows, which is the first dimension.
Arrays = Mapping[str, Array]

# Rows of the batches that are tried before anybody may ask. An engine that prepares something for every size of its inputs
# splits batches into these, so that no caller waits for the preparation of a size that was never seen: the small ones as they
# are, because most batches are small, and powers of two beyond.
PREPARED_ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class TensorSignature:
    """One input or output: `datatype` is its name in the Open Inference Protocol, for example FP32.

    The first dimension of `shape` is -1, the rows; a further -1 is a dimension that each request chooses.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        sizes = ", ".join("rows" if not index else "any" if size < 0 else str(size) for index, size in enumerate(self.shape))
        return f"{self.name} {self.datatype} [{sizes}]"


@dataclass(frozen=True)
class EngineSignature:
    """What a program takes and gives."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]


class Engine(Protocol):
    """A loaded program."""

    @property
    def name(self) -> str:
        """The engine in the words of a spec: onnxruntime, openvino or torch."""

    @property
    def variant(self) -> str:
        """What exactly runs, for example openvino-bf16; in metrics, in the log and in the figures of a version."""

    @property
    def platform(self) -> str:
        """What V2 metadata calls it, for example onnxruntime_onnx."""

    @property
    def signature(self) -> EngineSignature:
        """What the program takes and gives."""

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs for all inputs of the signature, each of its datatype and shape, with at least one row.

        Raises:
            Exception: whatever the program raises; the caller decides whose fault it was.
        """

    def close(self) -> None:
        """Give back what the program holds. The engine is not used afterwards."""


def run_rows(engine: Engine, inputs: Arrays, rows: int) -> Arrays:
    """Run so many rows. Raises what the engine raises, and ValueError when it gives back another number of rows."""
    outputs = engine.run(inputs)
    for name, values in outputs.items():
        if len(values) != rows:
            raise ValueError(f"output '{name}' has {len(values)} rows for {rows} rows of input")
    return outputs
