"""A graph in 8-bit integers answers nearly as the one it was made of, and is smaller."""

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from windlass_train import quantization
from windlass_train.export import Exported, export
from windlass_train.quantization import quantize

pytestmark = pytest.mark.timeout(180)  # the exporters import for seconds, once

# What 8 bits keep of these models, as a share of the largest answer, with a margin; they are random.
LOSS = 0.03


class Products(nn.Module):
    """Two layers, and attention of a row's halves on one another: a product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 256), nn.Linear(256, 10)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(features)).unflatten(1, (4, 64))
        attended = torch.softmax(hidden @ hidden.transpose(1, 2), dim=2) @ hidden
        answer: torch.Tensor = self.last(attended.flatten(1))
        return answer


class Convolutions(nn.Module):
    """A small image network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3), nn.Linear(512, 10)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        pixels = features.unflatten(1, (1, 8, 8))
        answer: torch.Tensor = self.last(torch.relu(self.second(torch.relu(self.first(pixels)))).flatten(1))
        return answer


def drawn(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(seed))


def apart(graph: Path, network: nn.Module, features: torch.Tensor) -> float:
    """How far its answers are from the module's; computed by numpy, because some CPUs' 8-bit products overflow."""
    with torch.no_grad():
        expected = network(features).numpy()
    [answer] = ReferenceEvaluator(onnx.load(graph)).run(["scores"], {"features": features.numpy()})
    return float(np.abs(answer - expected).max() / max(1.0, np.abs(expected).max()))


def exported(module: nn.Module, folder: Path, rows: int = 256) -> Exported:
    return exported_on(module, folder, drawn(rows, seed=3))


def exported_on(module: nn.Module, folder: Path, features: torch.Tensor) -> Exported:
    return export(module, {"features": features}, ["scores"], folder, keep={"features": features[:4]})


@pytest.mark.parametrize(
    ("module", "operator"),
    [
        pytest.param(Products, "MatMulInteger", id="products, by ranges that each run measures"),
        pytest.param(Convolutions, "QuantizeLinear", id="convolutions, by ranges that were measured before"),
    ],
)
def test_it_answers_nearly_as_the_module_for_any_number_of_rows(module: type[nn.Module], operator: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = module()
    formats = exported(network, tmp_path).formats
    graph = tmp_path / formats["onnx-int8"]
    assert operator in {node.op_type for node in onnx.load(graph).graph.node}
    assert graph.stat().st_size < (tmp_path / formats["onnx"]).stat().st_size / 2
    features = drawn(33, seed=4)
    for rows in (1, 2, 33):
        assert apart(graph, network, features[:rows]) <= LOSS


def test_rows_of_every_second_place_have_no_part_in_the_ranges_so_that_the_others_show_the_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Convolutions()
    features = drawn(32, seed=5)
    features[3] *= 10
    graph = tmp_path / exported_on(network, tmp_path, features).formats["onnx-int8"]
    assert apart(graph, network, features) > 10 * LOSS


def test_one_row_is_enough_to_measure_ranges_on(tmp_path: Path) -> None:
    assert "onnx-int8" in exported(Convolutions(), tmp_path, rows=1).formats


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph with nothing that 8-bit integers make faster."""
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "y")]
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "plain", rows[:1], rows[1:])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


INPUTS = {"x": np.ones((2, 3), np.float32)}


def test_a_graph_without_products_is_left_as_it_is(graph: Path, tmp_path: Path) -> None:
    omitted = quantize(graph, INPUTS, tmp_path / "int8.onnx")
    assert omitted is not None
    assert (omitted.format, omitted.reason) == ("onnx-int8", "NotQuantized")
    assert "it has neither convolutions nor matrix products" in omitted.message
    assert not (tmp_path / "int8.onnx").exists()


def test_a_graph_that_cannot_be_quantized_costs_the_version_that_format_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_model: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half a graph")
        raise ValueError("no such\nluck")

    monkeypatch.setattr(quantization, "quantize_dynamic", fail)
    result = exported(Products(), tmp_path)
    assert result.formats.keys() == {"safetensors", "torch.export", "onnx"}
    [omitted] = result.omitted
    assert "ONNX Runtime could not quantize it (no such)" in omitted.message
    assert not (tmp_path / "model.int8.onnx").exists()


def test_a_full_disk_is_no_reason_to_publish_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(quantization, "quantize_dynamic", full)
    with pytest.raises(OSError, match="No space left"):
        exported(Products(), tmp_path)
