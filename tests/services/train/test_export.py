"""Exported programs answer as the module does, for any number of rows, and a version holds all that serving needs."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from training_runs import training_run

from windlass_core.contracts import VersionReference
from windlass_core.registry import Registry
from windlass_core.resources.training_job import TrainedModel
from windlass_core.store import Store
from windlass_preprocess.transform import Transform
from windlass_train import export as exporting
from windlass_train.data import load
from windlass_train.export import export
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

    assert exported.formats == {"safetensors": "weights.safetensors", "torch.export": "model.pt2", "onnx": "model.onnx"}
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


def test_a_graph_that_does_not_agree_with_torch_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    exported = export(program_of(CLASSES, "logistic"), torch.randn(8, 64), tmp_path)
    assert "onnx" not in exported.formats
    assert exported.onnx_max_abs_difference is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt2", "weights.safetensors"]


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
    assert (content.job, content.job_uid, content.spec) == (run.name, "published", run.spec)
    assert content.made_with.keys() >= {"torch", "onnx", "onnxruntime", "windlass-train", "python"}
    assert {file.path for file in first.manifest.files} == {"weights.safetensors", "model.pt2", "model.onnx", "transform.json"}
    assert Transform.from_json(first.read("transform.json")) == data.transform
    result = published_result(first)
    assert result.outcome == "Succeeded"
    assert result.model is not None
    assert result.model.version == first.reference == Registry(data_store, "models").open("digits", 1).reference
    assert result.model.metrics == {"accuracy": 0.5}
    assert len(result.to_termination_message().encode()) < 2048
