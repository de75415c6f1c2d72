"""Opens an engine by the name of its variant. Each library is imported only here, and only when its engine is opened."""

import sys
from importlib import import_module
from pathlib import Path

from windlass_core.contracts import EngineName
from windlass_infer.engine import Arrays, Engine, EngineSignature
from windlass_infer.engines.candidates import BY_VARIANT
from windlass_infer.engines.failures import broken
from windlass_infer.engines.machine import limit_threads

_MODULES = {"onnxruntime": "onnx_runtime", "openvino": "openvino", "torch": "torch"}


def load_library(engine: EngineName) -> None:
    """Import an engine's library, which takes seconds for torch; `open_engine` does so too where it was not done.

    Raises:
        ImportError: the library is not there, or cannot be loaded.
    """
    if engine == "openvino":
        # The package sends nothing while a model runs; without this one it cannot, and loads in less time.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # how Python says that there is none
    if engine == "torch":
        limit_threads()  # torch reads the number while it is imported
    import_module(f"windlass_infer.engines.{_MODULES[engine]}")


def open_engine(variant: str, program: Path, signature: EngineSignature, example: Arrays) -> Engine:
    """A loaded program.

    Args:
        variant: one of candidates.CANDIDATES.
        program: the file of the candidate's format.
        signature: what the manifest says of the program, for engines whose programs have no names.
        example: inputs of at least two rows, for engines that trace.

    Raises:
        BadData: with reason ModelLoadFailed when the file is no program that the engine can run.
        ImportError: the library is not there, or cannot be loaded.
    """
    engine = BY_VARIANT[variant].engine
    load_library(engine)
    if engine == "onnxruntime":
        from windlass_infer.engines.onnx_runtime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(program, variant)
    if engine == "openvino":
        from windlass_infer.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(program, variant, precision="bf16" if variant == "openvino-bf16" else "f32")
    return _open_torch(variant, program, signature, example)


def _open_torch(variant: str, program: Path, signature: EngineSignature, example: Arrays) -> Engine:
    from windlass_infer.engines import torch

    match variant:
        case "torch":
            return torch.eager(program, signature)
        case "torch-traced":
            return torch.traced(program, signature, example)
        case "torch-aot":
            return torch.compiled(program, signature)
        case "torch-cuda":
            return torch.cuda(program, signature)
    raise broken(f"there is no engine '{variant}'")
