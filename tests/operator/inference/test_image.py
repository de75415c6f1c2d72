"""The image that serves a version: with torch only where nothing else will do."""

import builders as b
import pytest

from windlass_core.contracts import VersionReference
from windlass_core.resources import InferenceServiceSpec
from windlass_operator.api import INFERENCE_SERVICE, Manifest
from windlass_operator.inference import manifests

ALL = ("safetensors", "torch.export", "onnx")
ONLY_TORCH = ("safetensors", "torch.export")
GPU = {"resources": {"gpu": {"count": 1}}}
REFERENCE = VersionReference(name="digits", version=2, uri="store://models/digits/2", digest="sha256:model2")


def served_by(formats: tuple[str, ...], **spec: object) -> Manifest:
    parent = b.parent(INFERENCE_SERVICE, b.inference_service(**spec))
    pod = manifests.template(parent, InferenceServiceSpec.model_validate(parent.spec), REFERENCE, formats, b.SETTINGS)
    container: Manifest = pod["spec"]["containers"][0]
    return container


@pytest.mark.parametrize(
    ("formats", "spec", "image"),
    [
        pytest.param(ALL, {}, "infer", id="a version with all formats is served by the small image"),
        pytest.param(("onnx-int8",), {}, "infer", id="a version with int8 alone is served by the small image"),
        pytest.param(ONLY_TORCH, {}, "infer-torch", id="a version that does not export to ONNX needs torch"),
        pytest.param(("aot-inductor",), {}, "infer-torch", id="a compiled package needs torch"),
        pytest.param(ALL, {"engine": "torch"}, "infer-torch", id="torch is asked for"),
        pytest.param(ALL, {"engine": "openvino"}, "infer", id="an engine of the small image is asked for"),
        pytest.param(ONLY_TORCH, {"engine": "onnxruntime"}, "infer", id="an engine that cannot is asked for, and says why"),
        pytest.param(ALL, GPU, "infer-torch", id="only torch computes on a GPU"),
        pytest.param((), {}, "infer", id="a version whose formats nobody noted is of an early release"),
        pytest.param(("safetensors",), {}, "infer", id="a version that nothing runs says so from the small image"),
    ],
)
def test_the_image_follows_from_formats_and_spec(formats: tuple[str, ...], spec: dict[str, object], image: str) -> None:
    assert served_by(formats, **spec)["image"] == f"registry/{image}:1"


@pytest.mark.parametrize(
    ("formats", "spec", "memory"),
    [
        pytest.param(ALL, {}, "256Mi", id="the small image asks for little"),
        pytest.param(ONLY_TORCH, {}, "1Gi", id="torch asks for more"),
        pytest.param(ONLY_TORCH, {"resources": {"memory": "3Gi"}}, "3Gi", id="the spec decides where it says"),
    ],
)
def test_pods_ask_for_the_memory_that_their_image_needs(formats: tuple[str, ...], spec: dict[str, object], memory: str) -> None:
    assert served_by(formats, **spec)["resources"]["requests"]["memory"] == memory
