"""Exported programs answer as the module does, for any number of rows, and a version holds all that serving needs."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_runs import publish_table, training_run

from windlass_core.contracts import TERMINATION_MESSAGE_BYTES, RunResult, VersionReference
from windlass_core.registry import Registry
from windlass_core.resources.training_job import TrainedModel
from windlass_core.store import Store
from windlass_preprocess.transform import Transform
from windlass_train import export as exporting
from windlass_train.data import load
from windlass_train.export import Exported
from windlass_train.objective import Program
from windlass_train.publish import publish
from windlass_train.recipes import Problem, build_module
from windlass_train.result import published_result
from windlass_train.trainer import Trained

CLASSES = Problem("classification", "y", 64, classes=10)
QUANTITY = Problem("regression", "y", 64, offset=150.0, scale=75.0)

pytestmark = pytest.mark.timeout(180)  # the exporters import for seconds, once


def program_of(problem: Problem, recipe: str, **parameters: object) -> Program:
    torch.manual_seed(0)
    model = TrainedModel.model_validate({"name": "m", "recipe": recipe, "parameters": parameters})
    return Program(problem, build_module(problem, model)).eval()


def export(program: Program, features: torch.Tensor, folder: Path) -> Exported:
    inputs = {"features": features}
    return exporting.export(program, inputs, [program.output_name], folder, keep={"features": features[:4]})


@pytest.mark.parametrize(
    ("problem", "recipe", "output", "width"),
    [
        pytest.param(QUANTITY, "linear", "prediction", 1, id="linear"),
        pytest.param(CLASSES, "logistic", "probabilities", 10, id="logistic"),
        pytest.param(CLASSES, "mlp", "probabilities", 10, id="mlp on classes"),
        pytest.param(QUANTITY, "mlp", "prediction", 1, id="mlp on a quantity"),
        pytest.param(CLASSES, "cnn", "probabilities", 10, id="cnn on classes"),
        pytest.param(QUANTITY, "cnn", "prediction", 1, id="cnn on a quantity"),
    ],
)
def test_all_formats_answer_alike(problem: Problem, recipe: str, output: str, width: int, tmp_path: Path) -> None:
    program = program_of(problem, recipe)
    features = torch.randn(300, 64)
    exported = export(program, features, tmp_path)

    assert exported.formats == {
        "safetensors": "weights.safetensors",
        "torch.export": "model.pt2",
        "onnx": "model.onnx",
        "onnx-int8": "model.int8.onnx",
    }
    assert exported.onnx_max_abs_difference is not None
    assert exported.onnx_max_abs_difference < 1e-4
    assert [(tensor.name, tensor.shape) for tensor in (*exported.inputs, *exported.outputs)] == [
        ("features", [-1, 64]),
        (output, [-1, width]),
    ]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("features", ["batch", 64])]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [(output, ["batch", width])]
    saved = torch.export.load(tmp_path / "model.pt2").module()
    for rows in (1, 2, 3, 300):
        with torch.no_grad():
            expected = program(features[:rows])
            torch.testing.assert_close(saved(features[:rows]), expected)
        [answer] = session.run([output], {"features": features[:rows].numpy()})
        np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-4, atol=1e-5)
    rebuilt = program_of(problem, recipe)
    rebuilt.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(features), program(features), rtol=0, atol=0)


def test_one_row_of_data_is_enough_of_a_sample(tmp_path: Path) -> None:
    assert "onnx" in export(program_of(CLASSES, "logistic"), torch.randn(1, 64), tmp_path).formats


def test_dropout_is_not_in_what_is_served(tmp_path: Path) -> None:
    export(program_of(CLASSES, "mlp", dropout=0.9), torch.randn(8, 64), tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    features = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    answers = [session.run(None, {"features": features})[0] for _ in range(2)]
    np.testing.assert_array_equal(*answers)


class Cancelling(nn.Module):
    """Logits that are what two ways to compute the same number differ by: nothing but the rounding of each library's own
    approximations, on every processor. (Sums of large numbers that cancel are none: some processors have both add alike.)"""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        with torch.no_grad():
            self.linear.weight.copy_(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)) / 8)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        numbers = self.linear(features)
        return 1e6 * (torch.tanh(numbers) - (2 * torch.sigmoid(2 * numbers) - 1))


def twofold(rows: int) -> torch.Tensor:
    """float32 [rows, 64], of which the second half of the columns repeats the first."""
    return torch.randn(rows, 32, generator=torch.Generator().manual_seed(1)).repeat(1, 2)


def overflowing() -> nn.Module:
    """Logits beyond float32, of which a softmax makes no numbers."""
    module = nn.Linear(64, 10)
    with torch.no_grad():
        module.weight.fill_(3e38)
    return module


class Bessel(nn.Module):
    """What torch.export takes, and ONNX has no operator for."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j1(features[:, :10])


LEFT_OUT: dict[str, tuple[nn.Module, str, str]] = {
    "ONNX Runtime and torch disagree": (
        Cancelling(),
        "OnnxDisagrees",
        r"differ by up to 0\.\d+ on 200 rows.* 0\.0001 .*lower",
    ),
    "answers are no numbers": (overflowing(), "AnswersNotFinite", r"some of 200 rows .* no finite numbers.*: lower"),
    "ONNX has no such operator": (Bessel(), "OnnxExportFailed", r"failed \(DispatchError: No ONNX function .*bessel.* another"),
}


@pytest.mark.parametrize(("module", "reason", "sentence"), LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_a_graph_is_left_out_and_the_cause_noted_when(module: nn.Module, reason: str, sentence: str, tmp_path: Path) -> None:
    exported = export(Program(CLASSES, module), twofold(200), tmp_path)
    assert exported.formats.keys() == {"safetensors", "torch.export"}
    assert exported.onnx_max_abs_difference is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt2", "sample.npz", "weights.safetensors"]
    (omitted,) = exported.omitted
    assert (omitted.format, omitted.reason) == ("onnx", reason)
    assert re.search(sentence, omitted.message)


def test_a_full_disk_is_no_reason_to_publish_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(OSError, match="No space left"):
        export(program_of(CLASSES, "logistic"), torch.randn(8, 64), tmp_path)


def test_the_longest_error_of_an_exporter_fits_into_what_a_pod_leaves(
    data_store: Store, digits: VersionReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("\u20ac" * 10_000) from ValueError('"\u20ac\\' * 10_000)

    monkeypatch.setattr(torch.onnx, "export", fail)
    run = training_run(digits, uid="failed-export", recipe="logistic")
    data = load(data_store, digits)
    published = publish(data_store, run, data, Trained(module=build_module(data.problem, run.spec.model), step=1), {})
    result = published_result(published)
    assert result.model is not None
    assert result.model.omitted[0].message.startswith("The export to ONNX failed (ValueError:")
    text = result.to_termination_message()
    assert len(text.encode()) < TERMINATION_MESSAGE_BYTES
    assert RunResult.model_validate_json(text) == result


def test_a_version_without_onnx_is_published_and_tells_why_wherever_it_is_read(data_store: Store, tmp_path: Path) -> None:
    features, labels = twofold(300).numpy(), np.arange(300) % 10
    shares = {"train": 0.5, "validation": 0.0, "test": 0.5}
    dataset = publish_table(data_store, tmp_path, "twofold", features, labels, classes=True, shares=shares)
    run = training_run(dataset, uid="disagrees", recipe="logistic")
    published = publish(data_store, run, load(data_store, dataset), Trained(module=Cancelling(), step=3), {"accuracy": 0.5})
    again = Registry(data_store, "models").find("twofold", "disagrees")
    assert again is not None
    assert again.manifest.model is not None
    result = published_result(published)
    assert (result.outcome, result.reason) == ("Succeeded", "Published")
    assert result.model is not None
    assert result.model.formats == ["safetensors", "torch.export"]
    assert [(omitted.format, omitted.reason) for omitted in result.model.omitted] == [("onnx", "OnnxDisagrees")]
    assert again.manifest.model.omitted == result.model.omitted
    assert published_result(again) == result, "a pod that finds the version published says the same"


def test_a_version_is_published_once_and_tells_where_it_comes_from(data_store: Store, digits: VersionReference) -> None:
    run = training_run(digits, uid="published", recipe="logistic")
    data = load(data_store, digits)
    trained = Trained(module=build_module(data.problem, run.spec.model), step=17)
    first = publish(data_store, run, data, trained, {"accuracy": 0.5})
    again = publish(data_store, run, data, Trained(module=trained.module, step=99), {"accuracy": 0.9})
    assert again.reference == first.reference

    content = first.manifest.model
    assert content is not None
    assert (content.task, content.recipe, content.label, content.step) == ("classification", "logistic", "y", 17)
    assert content.classes == list(range(10))
    assert content.parameters == 650
    assert content.dataset == digits
    assert (content.job, content.job_uid, content.spec) == (run.name, "published", run.spec.to_json())
    assert content.made_with.keys() >= {"torch", "onnx", "onnxruntime", "windlass-train", "python"}
    files = {"weights.safetensors", "model.pt2", "model.onnx", "model.int8.onnx", "transform.json", "sample.npz"}
    assert {file.path for file in first.manifest.files} == files
    assert Transform.from_json(first.read("transform.json")) == data.transform
    result = published_result(first)
    assert result.outcome == "Succeeded"
    assert result.model is not None
    assert (
        result.model.version
        == first.reference
        == Registry(data_store, "models").open("digits", first.reference.version).reference
    )
    assert result.model.metrics == {"accuracy": 0.5}
    assert len(result.to_termination_message().encode()) < 2048
