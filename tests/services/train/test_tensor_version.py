"""Any module becomes a version that is asked by its tensors: of any datatype, number and shape, with free rows."""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch._inductor import aoti_load_package

from windlass_core.errors import BadData
from windlass_core.manifests import ImageDescription, Manifest
from windlass_core.store import Store
from windlass_train import ahead
from windlass_train.tensor_version import publish_tensor_version

pytestmark = pytest.mark.timeout(180)  # the exporters import for seconds, once


class Bag(nn.Module):
    """Two inputs of two datatypes, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        mean = (self.embedding(tokens) * weights.unsqueeze(2)).mean(dim=1)
        scores = self.head(mean)
        return scores, scores.argmax(dim=1)


def example(rows: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"tokens": torch.randint(0, 11, (rows, 7)), "weights": torch.rand(rows, 7)}


def test_a_module_becomes_a_version_with_all_formats_and_the_answers_to_its_example(store: Store) -> None:
    torch.manual_seed(1)
    module = Bag().eval()
    version = publish_tensor_version(store, "bag", module, example(), ["scores", "best"], owner="me", metrics={"loss": 1.0})
    content = version.manifest.model
    assert content is not None
    assert (content.task, content.label, content.dataset, content.spec) == (None, None, None, None)
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in (*content.inputs, *content.outputs)] == [
        ("tokens", "INT64", [-1, 7]),
        ("weights", "FP32", [-1, 7]),
        ("scores", "FP32", [-1, 3]),
        ("best", "INT64", [-1]),
    ]
    assert content.formats.keys() == {"safetensors", "torch.export", "onnx", "onnx-int8"}
    assert content.parameters == 11 * 6 + 6 * 3 + 3
    assert content.metrics == {"loss": 1.0}
    assert content.sample is not None
    with np.load(io.BytesIO(version.read(content.sample))) as sample:
        assert {name: array.shape for name, array in sample.items()} == {
            "input:tokens": (5, 7),
            "input:weights": (5, 7),
            "output:scores": (5, 3),
            "output:best": (5,),
        }
    session = onnxruntime.InferenceSession(version.read(content.formats["onnx"]))
    for rows in (1, 2, 5, 9):
        inputs = example(rows)
        scores, best = session.run(["scores", "best"], {name: tensor.numpy() for name, tensor in inputs.items()})
        with torch.no_grad():
            expected = module(*inputs.values())
        np.testing.assert_allclose(scores, expected[0].numpy(), atol=1e-5)
        np.testing.assert_array_equal(best, expected[1].numpy())


def test_a_module_is_compiled_ahead_and_one_that_cannot_be_says_why(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = {"x": torch.rand(3, 2)}
    module = nn.Linear(2, 1)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    version = publish_tensor_version(store, "small", module, rows, ["y"], owner="compiled", ahead=True)
    content = version.manifest.model
    assert content is not None
    assert content.formats["aot-inductor"] == "model.aot.pt2"
    program = aoti_load_package(version.download("model.aot.pt2", tmp_path / "model.aot.pt2"))
    for count in (1, 3):
        torch.testing.assert_close(program(rows["x"][:count]), module(rows["x"][:count]).detach())

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(ahead, "aoti_compile_and_package", fail)
    version = publish_tensor_version(store, "small", module, rows, ["y"], owner="not compiled", ahead=True)
    content = version.manifest.model
    assert content is not None
    assert "aot-inductor" not in content.formats
    [omitted] = content.omitted
    assert (omitted.format, omitted.reason) == ("aot-inductor", "CompileFailed")
    assert "(No working C++ compiler found); it needs g++" in omitted.message


def test_an_owner_never_gets_two_versions(store: Store) -> None:
    one = {"x": torch.rand(1, 2)}
    first = publish_tensor_version(store, "small", nn.Linear(2, 1), one, ["y"], owner="me")
    again = publish_tensor_version(store, "small", nn.Linear(2, 1), one, ["y"], owner="me")
    other = publish_tensor_version(store, "small", nn.Linear(2, 1), one, ["y"], owner="you")
    assert (first.reference, other.reference.version) == (again.reference, 2)


@pytest.mark.parametrize(
    "inputs",
    [{}, {"x": torch.rand(0, 2)}, {"x": torch.tensor(1.0)}, {"x": torch.rand(2, 2), "y": torch.rand(3, 2)}],
    ids=["no input", "no rows", "a number", "different numbers of rows"],
)
def test_examples_that_are_no_batch_are_refused_before_a_number_is_claimed(store: Store, inputs: dict[str, Tensor]) -> None:
    with pytest.raises(BadData, match="the same number of rows"):
        publish_tensor_version(store, "small", nn.Linear(2, 1), inputs, ["y"], owner="me")
    assert list(store.list("models")) == []


def test_limits_and_the_scale_of_pictures_stand_in_the_manifest(store: Store) -> None:
    image = ImageDescription(mean=[0.5], deviation=[0.25])
    module, inputs = nn.Flatten(), {"x": torch.rand(1, 3, 2, 2)}
    version = publish_tensor_version(store, "small", module, inputs, ["y"], owner="me", limits={"x": (0, None)}, image=image)
    content = version.manifest.model
    assert content is not None
    assert (content.inputs[0].minimum, content.inputs[0].maximum, content.image) == (0, None, image)


def test_a_limit_of_what_is_no_input_is_refused(store: Store) -> None:
    with pytest.raises(BadData, match="limits of 'z', which is none of the inputs"):
        publish_tensor_version(
            store, "small", nn.Linear(2, 1), {"x": torch.rand(1, 2)}, ["y"], owner="me", limits={"z": (0, 1)}
        )


def test_a_manifest_of_an_earlier_release_is_still_read() -> None:
    earlier = """{"schemaVersion": 1, "kind": "models", "name": "digits", "version": 1, "owner": "uid",
      "createdAt": "2026-11-01T00:00:00Z", "files": [],
      "model": {"task": "classification", "recipe": "mlp", "label": "digit", "classes": [0, 1],
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 64]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
        "formats": {"onnx": "model.onnx"}, "metrics": {"accuracy": 0.9}, "onnxMaxAbsDifference": 1e-7,
        "parameters": 130, "step": 17,
        "dataset": {"name": "digits", "version": 1, "uri": "store://datasets/digits/1", "digest": "sha256:00"},
        "job": "digits", "jobUid": "uid", "madeWith": {},
        "spec": {"dataset": {"name": "digits"}, "model": {"name": "digits", "recipe": "mlp"}}}}"""
    content = Manifest.model_validate_json(earlier).model
    assert content is not None
    assert (content.task, content.label, content.sample, content.step) == ("classification", "digit", None, 17)
