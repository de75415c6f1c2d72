"""Sizes that a program leaves to the request: those that it cannot run are refused as such, and its own failures are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from windlass_core.manifests import ModelContent
from windlass_infer.engine import Arrays, Engine
from windlass_infer.engines.onnx_runtime import OnnxRuntimeEngine
from windlass_infer.engines.openvino import OpenVinoEngine
from windlass_infer.errors import BadRequest, PredictionFailed
from windlass_infer.free_sizes import with_free_sizes
from windlass_infer.lanes.computing import Call, Computer, Outcome
from windlass_infer.predictor import ServedVersion
from windlass_infer.scheduling.queue import Piece, Work
from windlass_infer.tensor_predictor import TensorPredictor

VERSION = ServedVersion("net", 1, "sha256:00", "net")


def sum_of_two(folder: Path) -> Path:
    """A program that adds two inputs of one free length."""

    def tensors(*names: str) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", "length"]) for name in names]

    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "sum", tensors("a", "b"), tensors("y"))
    program = folder / "model.onnx"
    opsets = [helper.make_opsetid("", 17)]
    program.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return program


@pytest.fixture(params=[OnnxRuntimeEngine, OpenVinoEngine], ids=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    made: Engine = request.param(sum_of_two(tmp_path))
    return made


def checked(engine: Engine) -> Engine:
    described = [{"name": one.name, "shape": list(one.shape)} for one in engine.signature.inputs]
    content = ModelContent.model_validate({"inputs": described, "outputs": [], "formats": {}, "parameters": 0})
    return with_free_sizes(engine, TensorPredictor(VERSION, content, engine.signature))


def answer(engine: Engine, inputs: Arrays) -> Outcome:
    """What becomes of a request that is a batch of its own."""
    rows = len(next(iter(inputs.values())))
    work = Work(Call(inputs, lambda _: None), rows, 0.0)
    return Computer(engine).compute([Piece(work, 0, rows)], rows).outcomes[0]


def ones(**lengths: int) -> Arrays:
    return {name: np.ones((2, length), np.float32) for name, length in lengths.items()}


def test_sizes_that_agree_are_run(engine: Engine) -> None:
    outcome = answer(checked(engine), ones(a=3, b=3))
    assert not isinstance(outcome, Exception)
    assert outcome["y"].tolist() == [[2, 2, 2]] * 2


def test_sizes_that_do_not_agree_are_the_callers_fault_and_the_next_request_is_answered(engine: Engine) -> None:
    refusing = checked(engine)
    outcome = answer(refusing, ones(a=3, b=5))
    assert isinstance(outcome, BadRequest)
    assert outcome.message == "the model cannot run rows of these sizes: a [3], b [5]"
    assert not isinstance(answer(refusing, ones(a=4, b=4)), Exception)


class FailingEngine:
    """The program, but for requests that `fails` says."""

    def __init__(self, engine: Engine, fails: Callable[[Arrays], bool]) -> None:
        self.name, self.variant, self.platform, self.signature = engine.name, engine.variant, engine.platform, engine.signature
        self._engine = engine
        self._fails = fails

    def run(self, inputs: Arrays) -> Arrays:
        if self._fails(inputs):
            raise ValueError("broken")
        return self._engine.run(inputs)

    def close(self) -> None:
        self._engine.close()


@pytest.mark.parametrize(
    "fails",
    [lambda inputs: bool((inputs["a"] == 1).all()), lambda _: True],
    ids=["for these values alone", "whatever it is asked"],
)
def test_a_program_that_fails_for_another_reason_is_not_the_callers_fault(
    fails: Callable[[Arrays], bool], tmp_path: Path
) -> None:
    failing = FailingEngine(OnnxRuntimeEngine(sum_of_two(tmp_path)), fails)
    assert isinstance(answer(checked(failing), ones(a=3, b=3)), PredictionFailed)
