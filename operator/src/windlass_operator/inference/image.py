"""Which image serves a version: the small one wherever it can, the one with torch where only torch will do. Pure."""

from collections.abc import Collection
from dataclasses import replace

from windlass_core.resources import InferenceServiceSpec
from windlass_operator.pod_template import Program
from windlass_operator.settings import Images

# Formats whose engines are in the small image.
WITHOUT_TORCH = frozenset({"onnx", "onnx-int8"})
# Formats that only torch runs.
WITH_TORCH = frozenset({"torch.export", "aot-inductor"})
# torch alone takes half a gigabyte, before any model.
TORCH_MEMORY = "1Gi"


def needs_torch(spec: InferenceServiceSpec, formats: Collection[str]) -> bool:
    """Whether the version must be served by torch: it is asked for, a GPU is, or nothing else runs what the version has.

    A version whose formats nobody noted is one of an early release, which had no others than the small image runs.
    """
    if spec.engine != "auto":
        return spec.engine == "torch"
    if spec.resources.gpu is not None:
        return True
    return not WITHOUT_TORCH.intersection(formats) and bool(WITH_TORCH.intersection(formats))


def choose(spec: InferenceServiceSpec, formats: Collection[str], images: Images) -> str:
    """The image."""
    return images.infer_torch if needs_torch(spec, formats) else images.infer


def program(usual: Program, spec: InferenceServiceSpec, formats: Collection[str]) -> Program:
    """What the pods ask for where the spec does not say: more memory with torch."""
    return replace(usual, memory=TORCH_MEMORY) if needs_torch(spec, formats) else usual
