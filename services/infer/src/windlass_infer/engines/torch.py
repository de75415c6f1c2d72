"""torch as an engine: what does not export to ONNX, and GPUs. The only module of this service that imports torch.

    eager      the torch.export program, operator by operator
    traced     the same traced, frozen and fused
    compiled   a package that AOTInductor made when the version was published
    cuda       the torch.export program on a GPU

Only the third runs machine code from the version: for the kind of CPU that it was published on, with the bytes that the
version's digest vouches for.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.export.passes import move_to_device_pass
from torch.fx.graph import CodeGen

from windlass_infer.engine import Arrays, EngineSignature
from windlass_infer.engines.failures import broken, first_line
from windlass_infer.engines.machine import THREADS

torch.set_num_threads(THREADS)
# Arrays of requests may only be read. No program of ours writes to its inputs, so torch need not warn of it for each request.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

CUDA = "cuda"

# Takes tensors in the order of the inputs, gives one or a sequence of them in the order of the outputs.
Program = Callable[..., Any]


class TorchEngine:
    """A program of torch behind the protocol of Engine. Such programs know no names, so the manifest's signature gives them."""

    name = "torch"
    platform = "pytorch_pt2"

    def __init__(self, variant: str, program: Program, signature: EngineSignature) -> None:
        self.variant = variant
        self.signature = signature
        self._program = program
        self._inputs = [tensor.name for tensor in signature.inputs]
        self._outputs = [tensor.name for tensor in signature.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs; see Engine."""
        with torch.inference_mode():
            answer = self._program(*[torch.from_numpy(inputs[name]) for name in self._inputs])
        answers = (answer,) if isinstance(answer, torch.Tensor) else answer
        return {name: tensor.numpy() for name, tensor in zip(self._outputs, answers, strict=True)}

    def close(self) -> None:
        """Drop the program and with it the weights."""
        del self._program


def eager(program: Path, signature: EngineSignature) -> TorchEngine:
    """The reference: the program as torch runs it."""
    return TorchEngine("torch", _module(_load(program)), signature)


def traced(program: Path, signature: EngineSignature, example: Arrays) -> TorchEngine:
    """Fewer and fused operators. What depends on the number of rows may be lost in the trace; agreement at several shows it."""
    module = _module(_load(program))
    tensors = tuple(torch.from_numpy(example[tensor.name]) for tensor in signature.inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each size of a tensor that becomes a number
            frozen = torch.jit.freeze(torch.jit.trace(module, tensors, check_trace=False))  # type: ignore[no-untyped-call]
            return TorchEngine("torch-traced", torch.jit.optimize_for_inference(frozen), signature)
    except Exception as error:  # the tracer raises anything for a program that it cannot take
        raise broken(f"torch cannot trace {program.name}: {first_line(error)}") from error


def compiled(package: Path, signature: EngineSignature) -> TorchEngine:
    """What AOTInductor compiled for the CPU of who published it."""
    from torch._inductor import aoti_load_package

    try:
        return TorchEngine("torch-aot", aoti_load_package(package, run_single_threaded=True), signature)
    except Exception as error:
        raise broken(f"torch cannot load {package.name}: {first_line(error)}") from error


def cuda(program: Path, signature: EngineSignature) -> TorchEngine:
    """The program on the pod's GPU, in true float32: no 19-bit products instead of 24-bit ones."""
    if not torch.cuda.is_available():
        raise broken("torch finds no GPU that it can use")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    module = _module(move_to_device_pass(_load(program), CUDA))

    def run(*tensors: torch.Tensor) -> list[torch.Tensor]:
        return [answer.cpu() for answer in module(*[tensor.to(CUDA) for tensor in tensors])]

    return TorchEngine("torch-cuda", run, signature)


def _load(program: Path) -> torch.export.ExportedProgram:
    try:
        return torch.export.load(program)
    except Exception as error:  # the library raises a dozen unrelated types for a bad file
        raise broken(f"torch cannot load {program.name}: {first_line(error)}") from error


def _module(exported: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """The program as a function of tensors.

    Without its checks of inputs, which the protocols have made already, and without the unpacking of nested arguments, which it
    has not: a quarter of the time for a small network.
    """
    module = exported.module(check_guards=False)
    module._forward_pre_hooks.clear()
    module.graph.set_codegen(CodeGen())
    module.recompile()
    for part in module.modules():
        part.training = False  # what freezing asks for; exported programs refuse eval(), as they have only one mode
    return module
