"""Every engine gives the same answers as eager torch, on the workloads that serving is measured with, at any number of rows."""

import gc
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from windlass_core.errors import BadData
from windlass_core.registry import PublishedVersion
from windlass_core.store import Store
from windlass_infer.engine import PREPARED_ROWS, Arrays, Engine, EngineSignature, TensorSignature
from windlass_infer.engines import tournament
from windlass_infer.engines.agreement import ROUNDING, difference
from windlass_infer.engines.candidates import BY_VARIANT, EngineChoice
from windlass_infer.engines.machine import this_machine
from windlass_infer.engines.opening import open_engine
from windlass_infer.engines.openvino import pieces
from windlass_infer.engines.samples import read_sample
from windlass_infer.engines.selection import Selection, Selector, manifest_signature
from windlass_train.tensor_version import publish_tensor_version

WORKLOADS_FILE = Path(__file__).parents[4] / "bench" / "serving" / "workloads.py"
NAMES = ("mlp", "resnet", "encoder")
SAMPLE_ROWS = 4
# One alone, a prepared size, and one that is none.
ROWS = (1, 4, 11)
# What bfloat16 keeps of these models, with a margin; they are random, so their answers lie close together.
BF16_LOSS = 0.02
# What 8 bits keep of them, whose ranges are measured on half of SAMPLE_ROWS.
INT8_LOSS = 0.05
LOSSES = {"openvino-bf16": BF16_LOSS, "onnxruntime-int8": INT8_LOSS, "openvino-int8": INT8_LOSS}

# The exporters import for seconds, and the machine is busy.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def workloads() -> Iterator[ModuleType]:
    """The workloads of the benchmark."""
    spec = importlib.util.spec_from_file_location("benchmark_workloads", WORKLOADS_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module", params=NAMES)
def version(request: pytest.FixtureRequest, workloads: ModuleType) -> tuple[Any, PublishedVersion]:
    """A workload, and the version that was published of it."""
    workload = workloads.WORKLOADS[request.param]
    store = Store.open("team", {"WINDLASS_STORE_URL": "memory:///"})
    inputs = {"input": torch.from_numpy(workload.questions()[:SAMPLE_ROWS])}
    published = publish_tensor_version(store, workload.name, workload.module(), inputs, ["output"], owner="me")
    return workload, published


@pytest.fixture
def opened(version: tuple[Any, PublishedVersion], tmp_path: Path) -> Callable[[str], Engine]:
    """Opens the version by a variant."""
    _, published = version
    content = published.manifest.model
    assert content is not None
    assert content.sample is not None
    signature = manifest_signature(content)
    sample = read_sample(published.read(content.sample), signature)

    def make(variant: str) -> Engine:
        program = published.download(content.formats[BY_VARIANT[variant].format], tmp_path / variant)
        return open_engine(variant, program, signature, sample.inputs)

    return make


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino", "torch", "torch-traced", *LOSSES])
def test_it_answers_as_eager_torch_does(
    version: tuple[Any, PublishedVersion], opened: Callable[[str], Engine], variant: str
) -> None:
    workload, _ = version
    if (workload.name, variant) == ("encoder", "torch-traced"):
        # Its trace holds the number of rows that it was made with, so it must be seen not to agree: the first row alone fails.
        with pytest.raises(RuntimeError, match="shape"):
            opened(variant).run({"input": workload.questions()[:1]})
        return
    engine = opened(variant)
    assert (engine.name, engine.variant) == (BY_VARIANT[variant].engine, variant)
    questions = workload.questions()[: max(ROWS)]
    predict = workload.predictor()
    for rows in ROWS:
        answer = engine.run({"input": questions[:rows]})
        apart = difference(answer, {"output": predict(questions[:rows])})
        assert apart <= LOSSES.get(variant, ROUNDING)
    engine.close()


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino", "torch", "onnxruntime-int8", "openvino-int8"])
def test_it_says_what_it_takes_and_gives_as_the_manifest_does(
    version: tuple[Any, PublishedVersion], opened: Callable[[str], Engine], variant: str
) -> None:
    workload, _ = version
    shape, dtype = workload.row
    datatype = {"float32": "FP32", "int64": "INT64"}[dtype]
    assert opened(variant).signature == EngineSignature(
        inputs=(TensorSignature("input", datatype, (-1, *shape)),),
        outputs=(TensorSignature("output", "FP32", (-1, workload.outputs)),),
    )


def test_where_a_loss_is_allowed_eight_bits_take_part_and_are_held_against_torch(
    version: tuple[Any, PublishedVersion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, published = version
    content = published.manifest.model
    assert content is not None
    monkeypatch.setattr(tournament, "TRIAL_SECONDS", 100.0)  # the machine is busy
    machine = replace(this_machine(), flags=frozenset({"avx512_vnni"}))

    def select(loss: float | None, folder: str) -> Selection:
        scratch = tmp_path / folder
        scratch.mkdir()
        return Selector(published, content, EngineChoice("onnxruntime", loss), scratch, no_example, machine).select()

    exact, tight, loose = select(None, "exact"), select(1e-9, "tight"), select(INT8_LOSS, "loose")
    assert (exact.engine.variant, exact.reasons["onnxruntime-int8"]) == ("onnxruntime", "the spec allows no loss")
    assert tight.engine.variant == "onnxruntime"
    assert re.match(r"its answers differ by .*, and 0.0001 is tolerated", tight.reasons["onnxruntime-int8"])
    assert "rows/s by batch" in loose.reasons["onnxruntime-int8"], "which of the two is faster is the machine's affair"


def no_example(_: int) -> Arrays:
    pytest.fail("the version has a sample")


def resident_bytes() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino"])
def test_what_is_closed_gives_its_memory_back(opened: Callable[[str], Engine], variant: str) -> None:
    engine = opened(variant)  # the first one leaves the library's own memory behind
    engine.close()
    gc.collect()
    before = resident_bytes()
    for _ in range(5):
        engine = opened(variant)
        engine.run({tensor.name: np.zeros((1, *tensor.shape[1:]), dtype_of(tensor)) for tensor in engine.signature.inputs})
        engine.close()
    del engine
    gc.collect()
    assert resident_bytes() - before < 60 << 20, "five more engines, of 45 MB of weights each for the largest"


def dtype_of(tensor: TensorSignature) -> str:
    return {"FP32": "float32", "INT64": "int64"}[tensor.datatype]


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino", "torch", "torch-traced", "torch-aot"])
@pytest.mark.parametrize("content", [b"", b"no program", b"\x08\x07\x12\x04torch"], ids=["empty", "text", "almost ONNX"])
def test_a_file_that_is_no_program_is_refused_in_a_sentence(variant: str, content: bytes, tmp_path: Path) -> None:
    program = tmp_path / "model"
    program.write_bytes(content)
    with pytest.raises(BadData, match=r"(ONNX Runtime|OpenVINO|torch) cannot load model: .") as failure:
        open_engine(variant, program, EngineSignature((), ()), {})
    assert failure.value.reason == "ModelLoadFailed"
    assert "\n" not in failure.value.message


@pytest.mark.parametrize("rows", [1, 7, 9, 45, 128, 300])
def test_batches_are_run_in_prepared_sizes(rows: int) -> None:
    sizes = pieces(rows)
    assert sum(sizes) == rows
    assert set(sizes) <= set(PREPARED_ROWS)
    assert len(sizes) <= 5


def test_a_server_imports_no_library_of_an_engine_before_it_opens_one() -> None:
    names = ["torch", "openvino", "onnxruntime", "duckdb", "pyarrow", "onnx"]
    script = f"import sys, windlass_infer.__main__; print([name for name in {names} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout.strip() == "[]"
