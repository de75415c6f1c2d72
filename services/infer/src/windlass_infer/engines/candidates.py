"""Which engines could run a version here, and why the others could not. Pure: it is told what version and machine have."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from windlass_core.contracts import EngineName
from windlass_infer.engines.machine import Machine

# Formats of a version, as its manifest names them.
ONNX, ONNX_INT8, TORCH_EXPORT, AOT_INDUCTOR = "onnx", "onnx-int8", "torch.export", "aot-inductor"

# Without one of these a CPU widens bfloat16 and splits 8-bit products in software, which is slower than float32.
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
INT8_FLAGS = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})


@dataclass(frozen=True)
class EngineChoice:
    """What the spec asks for.

    Attributes:
        engine: one engine, or auto.
        loss: how far answers may be from float32, as a share of the largest answer or of 1 if that is less; None: by rounding.
    """

    engine: EngineName = "auto"
    loss: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to run a program.

    Attributes:
        engine: its word in a spec, which is also the name of the library it needs.
        variant: its name in metrics, in the log and in the figures of a version.
        format: the format of the version that it reads.
        lossy: whether its numbers differ from float32 by more than rounding.
        flags: the CPU must have one of them; none means any CPU.
        gpu: whether it needs a GPU.
        texts: whether it takes tensors of BYTES.
    """

    engine: EngineName
    variant: str
    format: str
    lossy: bool = False
    flags: frozenset[str] = frozenset()
    gpu: bool = False
    texts: bool = False


# The order is that of preference: where figures are alike, the earlier is smaller, better known or more exact.
CANDIDATES = (
    Candidate("onnxruntime", "onnxruntime", ONNX, texts=True),
    Candidate("openvino", "openvino", ONNX),
    Candidate("torch", "torch", TORCH_EXPORT),
    Candidate("torch", "torch-traced", TORCH_EXPORT),
    Candidate("torch", "torch-aot", AOT_INDUCTOR),
    Candidate("torch", "torch-cuda", TORCH_EXPORT, gpu=True),
    Candidate("openvino", "openvino-bf16", ONNX, lossy=True, flags=BF16_FLAGS),
    Candidate("onnxruntime", "onnxruntime-int8", ONNX_INT8, lossy=True, flags=INT8_FLAGS),
    Candidate("openvino", "openvino-int8", ONNX_INT8, lossy=True, flags=INT8_FLAGS),
)
BY_VARIANT: Mapping[str, Candidate] = {candidate.variant: candidate for candidate in CANDIDATES}


@dataclass(frozen=True)
class Field:
    """Who takes part: the candidates in order of preference, and for each of the others why it does not."""

    candidates: tuple[Candidate, ...]
    refused: Mapping[str, str]


def field(choice: EngineChoice, formats: Collection[str], machine: Machine, *, texts: bool = False) -> Field:
    """The candidates for a version with these formats on this machine.

    Args:
        choice: what the spec asks for and allows.
        formats: programs that the version has.
        machine: where it is to run.
        texts: whether the version has tensors of BYTES.
    """
    taking: list[Candidate] = []
    refused: dict[str, str] = {}
    for candidate in CANDIDATES:
        reason = _refusal(candidate, choice, formats, machine)
        if reason is None and texts and not candidate.texts:
            reason = f"{candidate.engine} takes no tensors of BYTES"
        if reason is None:
            taking.append(candidate)
        else:
            refused[candidate.variant] = reason
    return Field(tuple(taking), refused)


def _refusal(candidate: Candidate, choice: EngineChoice, formats: Collection[str], machine: Machine) -> str | None:
    if choice.engine not in ("auto", candidate.engine):
        return f"the spec asks for {choice.engine}"
    if candidate.format not in formats:
        return f"the version has no program of the format {candidate.format}"
    if candidate.engine not in machine.libraries:
        return f"{candidate.engine} is not in this image"
    if candidate.lossy and choice.loss is None:
        return "the spec allows no loss"
    if candidate.flags and not candidate.flags & machine.flags:
        return f"the CPU has none of {', '.join(sorted(candidate.flags))}"
    if candidate.gpu and not machine.gpu:
        return "there is no GPU"
    return None
