"""Rows to try engines on: inputs that a version answers, and what eager torch answered to them where that was recorded."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from windlass_core.manifests import SAMPLE_INPUT, SAMPLE_OUTPUT
from windlass_infer.engine import Arrays, EngineSignature
from windlass_infer.engines.failures import broken


@dataclass(frozen=True)
class Sample:
    """Inputs, and the outputs that are right for them; None where nobody has recorded any."""

    inputs: Arrays
    outputs: Arrays | None = None

    @property
    def rows(self) -> int:
        """How many rows each input has."""
        return rows_of(self.inputs)


def rows_of(arrays: Arrays) -> int:
    """How many rows each of the arrays has."""
    return len(next(iter(arrays.values())))


def read_sample(archive: bytes, signature: EngineSignature) -> Sample:
    """The sample of a version, as it was published.

    Raises:
        BadData: it is no sample, or not one of this signature.
    """
    try:
        with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
            entries = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise broken(f"its sample cannot be read: {error}") from error
    inputs, outputs = _named(entries, SAMPLE_INPUT), _named(entries, SAMPLE_OUTPUT)
    expected = [tensor.name for tensor in (*signature.inputs, *signature.outputs)]
    if sorted([*inputs, *outputs]) != sorted(expected) or len({array.shape[:1] for array in entries.values()}) != 1:
        raise broken(f"its sample has {', '.join(entries)}; it must have as many rows of each of {', '.join(expected)}")
    return Sample(inputs, outputs)


def write_arrays(arrays: Arrays, path: Path) -> None:
    """Arrays as a numpy archive."""
    np.savez(path, **arrays)  # type: ignore[arg-type]  # as if one could be savez's own option, allow_pickle


def read_arrays(path: Path) -> Arrays:
    """What `write_arrays` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def repeated(inputs: Arrays, rows: int) -> Arrays:
    """So many rows, the given ones over and over."""
    times = -(-rows // rows_of(inputs))
    return {name: np.concatenate([values] * times)[:rows] for name, values in inputs.items()}


def _named(entries: Arrays, prefix: str) -> Mapping[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in entries.items() if name.startswith(prefix)}
