"""Who takes part, what agrees, who is fastest: the choice of an engine as tables, without running any."""

import numpy as np
import pytest
from numpy.typing import NDArray

from windlass_infer.engines.agreement import difference, tolerated
from windlass_infer.engines.candidates import CANDIDATES, Candidate, EngineChoice, field
from windlass_infer.engines.decision import decide
from windlass_infer.engines.figures import Figure
from windlass_infer.engines.machine import Machine
from windlass_infer.engines.timing import BATCHES, fit, measure

ALL = {"onnxruntime": "1", "openvino": "2", "torch": "3"}
SMALL = {"onnxruntime": "1", "openvino": "2"}
AMX = frozenset({"avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"})
PLAIN = frozenset({"avx2"})
FORMATS = ("safetensors", "torch.export", "onnx")
AUTO, LOSSY = EngineChoice(), EngineChoice("auto", 0.01)


def machine(libraries: dict[str, str] = SMALL, flags: frozenset[str] = AMX, *, gpu: bool = False) -> Machine:
    return Machine("CPU", flags, gpu, libraries)


@pytest.mark.parametrize(
    ("choice", "formats", "there", "variants"),
    [
        pytest.param(AUTO, FORMATS, machine(), ["onnxruntime", "openvino"], id="the small image tries what reads ONNX"),
        pytest.param(
            AUTO, FORMATS, machine(ALL), ["onnxruntime", "openvino", "torch", "torch-traced"], id="with torch, torch too"
        ),
        pytest.param(
            LOSSY, FORMATS, machine(), ["onnxruntime", "openvino", "openvino-bf16"], id="bf16 where a loss is allowed"
        ),
        pytest.param(
            LOSSY, FORMATS, machine(flags=PLAIN), ["onnxruntime", "openvino"], id="no bf16 where the CPU would emulate it"
        ),
        pytest.param(
            LOSSY,
            (*FORMATS, "onnx-int8"),
            machine(),
            ["onnxruntime", "openvino", "openvino-bf16", "onnxruntime-int8", "openvino-int8"],
            id="int8 where the version carries it and a loss is allowed",
        ),
        pytest.param(AUTO, (*FORMATS, "onnx-int8"), machine(), ["onnxruntime", "openvino"], id="no int8 without a loss"),
        pytest.param(
            AUTO,
            ("torch.export", "aot-inductor"),
            machine(ALL),
            ["torch", "torch-traced", "torch-aot"],
            id="what does not export to ONNX is left to torch",
        ),
        pytest.param(AUTO, ("torch.export",), machine(ALL, gpu=True), ["torch", "torch-traced", "torch-cuda"], id="a GPU"),
        pytest.param(EngineChoice("openvino"), FORMATS, machine(ALL), ["openvino"], id="an engine by its name is alone"),
        pytest.param(
            EngineChoice("openvino", 0.01), FORMATS, machine(), ["openvino", "openvino-bf16"], id="by its name, with a loss"
        ),
        pytest.param(EngineChoice("torch"), FORMATS, machine(), [], id="torch is asked for, but is not in the image"),
        pytest.param(AUTO, ("safetensors",), machine(ALL), [], id="weights are no program"),
    ],
)
def test_who_takes_part(choice: EngineChoice, formats: tuple[str, ...], there: Machine, variants: list[str]) -> None:
    taking = field(choice, formats, there)
    assert [candidate.variant for candidate in taking.candidates] == variants
    assert {*variants, *taking.refused} == {candidate.variant for candidate in CANDIDATES}


@pytest.mark.parametrize(
    ("variant", "choice", "formats", "there", "reason"),
    [
        ("torch", AUTO, FORMATS, machine(), "torch is not in this image"),
        ("openvino-bf16", AUTO, FORMATS, machine(), "the spec allows no loss"),
        ("openvino-bf16", LOSSY, FORMATS, machine(flags=PLAIN), "the CPU has none of amx_bf16, avx512_bf16"),
        ("openvino", EngineChoice("torch"), FORMATS, machine(ALL), "the spec asks for torch"),
        ("onnxruntime", AUTO, ("torch.export",), machine(ALL), "the version has no program of the format onnx"),
        ("torch-cuda", AUTO, FORMATS, machine(ALL), "there is no GPU"),
    ],
)
def test_who_does_not_take_part_is_told_why(
    variant: str, choice: EngineChoice, formats: tuple[str, ...], there: Machine, reason: str
) -> None:
    assert field(choice, formats, there).refused[variant] == reason


def test_only_onnx_runtime_takes_texts() -> None:
    taking = field(AUTO, FORMATS, machine(ALL), texts=True)
    assert [candidate.variant for candidate in taking.candidates] == ["onnxruntime"]
    assert taking.refused["openvino"] == "openvino takes no tensors of BYTES"


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize(
    ("answer", "expected", "apart"),
    [
        pytest.param(floats(0.5, 0.25), floats(0.5, 0.5), 0.25, id="small numbers are compared as they are"),
        pytest.param(floats(200, 50), floats(200, 100), 0.25, id="large ones as a share of the largest"),
        pytest.param(floats(1, np.nan), floats(1, 1), np.inf, id="a number that is none"),
        pytest.param(floats(1), floats(1, 1), np.inf, id="another shape"),
        pytest.param(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]), 0.25, id="whole numbers are the same or not"),
        pytest.param(np.array([1.0]), floats(1), np.inf, id="another datatype"),
    ],
)
def test_how_far_answers_are_apart(answer: NDArray[np.generic], expected: NDArray[np.generic], apart: float) -> None:
    assert difference({"y": answer}, {"y": expected}) == pytest.approx(apart)


def test_the_output_that_is_farthest_apart_counts_and_all_must_be_there() -> None:
    expected = {"a": floats(1), "b": floats(1)}
    assert difference({"a": floats(1), "b": floats(0.5)}, expected) == 0.5
    assert difference({"a": floats(1)}, expected) == np.inf
    assert difference({}, {}) == np.inf


def test_rounding_is_always_tolerated_and_more_where_it_is_allowed() -> None:
    assert (tolerated(None), tolerated(1e-9), tolerated(0.01)) == (1e-4, 1e-4, 0.01)


def figure(variant: str, rate: float, apart: float | None = 1e-6, failure: str | None = None) -> Figure:
    rates = {} if failure else {1: rate, 8: 4 * rate, 32: 8 * rate}
    return Figure(variant=variant, rows_per_second=rates, difference=apart, failure=failure)


@pytest.mark.parametrize(
    ("figures", "choice", "ranking", "reasons"),
    [
        pytest.param(
            [figure("onnxruntime", 100), figure("openvino", 150)],
            AUTO,
            ["openvino", "onnxruntime"],
            {"openvino": "the fastest that agrees", "onnxruntime": "0.67 times as fast as openvino"},
            id="the fastest serves",
        ),
        pytest.param(
            [figure("onnxruntime", 100), figure("openvino", 104)],
            AUTO,
            ["onnxruntime", "openvino"],
            {"openvino": "1.04 times as fast as onnxruntime"},
            id="a lead within noise does not count",
        ),
        pytest.param(
            [figure("onnxruntime", 100), figure("openvino", 500, apart=2e-4)],
            AUTO,
            ["onnxruntime"],
            {"openvino": "its answers differ by 0.0002, and 0.0001 is tolerated"},
            id="who does not agree does not serve, however fast",
        ),
        pytest.param(
            [figure("openvino", 100, apart=5e-3), figure("openvino-bf16", 300, apart=5e-3)],
            LOSSY,
            ["openvino-bf16"],
            {"openvino": "its answers differ by 0.005, and 0.0001 is tolerated"},
            id="a loss is allowed only to those that are known to lose",
        ),
        pytest.param(
            [figure("onnxruntime", 100), figure("openvino-bf16", 300, apart=0.02)],
            LOSSY,
            ["onnxruntime"],
            {"openvino-bf16": "its answers differ by 0.02, and 0.01 is tolerated"},
            id="a loss beyond what is allowed",
        ),
        pytest.param(
            [figure("onnxruntime", 100), figure("torch", 0, failure="it was not done after 20 s")],
            AUTO,
            ["onnxruntime"],
            {"torch": "it was not done after 20 s"},
            id="who failed says why",
        ),
        pytest.param(
            [figure("onnxruntime", 100, apart=None), Figure(variant="openvino", difference=0.0)],
            AUTO,
            [],
            {"openvino": "it was not measured"},
            id="nobody is fit",
        ),
    ],
)
def test_who_serves(figures: list[Figure], choice: EngineChoice, ranking: list[str], reasons: dict[str, str]) -> None:
    decision = decide(figures, {"torch-cuda": "there is no GPU"}, choice)
    assert list(decision.ranking) == ranking
    assert decision.reasons["torch-cuda"] == "there is no GPU"
    assert decision.reasons.keys() == {"torch-cuda", *(figure.variant for figure in figures)}
    for variant, sentence in reasons.items():
        assert decision.reasons[variant].startswith(sentence)


def test_twice_as_fast_at_one_size_and_half_as_fast_at_another_is_not_better() -> None:
    even = Figure(variant="onnxruntime", rows_per_second={1: 100, 32: 100}, difference=0.0)
    uneven = Figure(variant="openvino", rows_per_second={1: 50, 32: 200}, difference=0.0)
    assert decide([uneven, even], {}, AUTO).ranking == ("onnxruntime", "openvino")


def test_the_table_of_candidates_names_each_variant_once_by_its_engine() -> None:
    variants = [candidate.variant for candidate in CANDIDATES]
    assert len(set(variants)) == len(variants)

    def of_its_engine(candidate: Candidate) -> bool:
        return candidate.variant == candidate.engine or candidate.variant.startswith(f"{candidate.engine}-")

    assert all(map(of_its_engine, CANDIDATES))


@pytest.mark.parametrize(
    ("seconds", "per_row", "per_batch"),
    [
        pytest.param({1: 3.0, 8: 17.0, 32: 65.0}, 2.0, 1.0, id="a line"),
        pytest.param({1: 2.0, 8: 16.0, 32: 64.0}, 2.0, 0.0, id="a line through nothing"),
        pytest.param({1: 2.0, 8: 15.0, 32: 66.0}, 2.0, 0.0, id="a line that would begin below nothing"),
        pytest.param({1: 5.0, 8: 5.0, 32: 5.0}, 0.0, 5.0, id="a batch costs the same whatever is in it"),
        pytest.param({1: 5.0}, 0.0, 5.0, id="one size alone"),
    ],
)
def test_the_cost_of_a_batch_is_fitted_and_never_negative(seconds: dict[int, float], per_row: float, per_batch: float) -> None:
    a, b = fit(seconds)
    assert a == pytest.approx(per_row, rel=0.05, abs=1e-9)
    assert b == pytest.approx(per_batch, abs=0.05)


class Counting:
    """An engine that does nothing but count rows."""

    name = variant = platform = "counting"
    signature = None

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        self.rows.append(len(inputs["x"]))
        return inputs


def test_every_size_is_measured_with_rows_of_the_sample_over_and_over() -> None:
    engine = Counting()
    seconds = measure(engine, {"x": floats(1, 2, 3)})  # type: ignore[arg-type]
    assert list(seconds) == list(BATCHES)
    assert all(value > 0 for value in seconds.values())
    assert set(engine.rows) == set(BATCHES)
