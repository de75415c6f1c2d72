"""RunResult fits the kubelet's limit whatever it holds, and contracts survive a newer other side."""

import json
from datetime import UTC, datetime

import pytest

from windlass_core.contracts import (
    RUN_SPEC,
    TERMINATION_MESSAGE_BYTES,
    ColumnType,
    DatasetResult,
    ModelResult,
    RunResult,
    VersionReference,
)

REFERENCE = VersionReference(name="digits", version=1, uri="store://datasets/digits/1", digest="sha256:" + "0" * 64)


def dataset_result(columns: int, width: int = 20) -> DatasetResult:
    named = [ColumnType(name=f"{index:0{width}d}", type="float64") for index in range(columns)]
    return DatasetResult(version=REFERENCE, rows=1797, column_count=columns, columns=named, task="classification")


@pytest.mark.parametrize(
    ("result", "kept_columns"),
    [
        pytest.param(
            RunResult(outcome="Succeeded", reason="Prepared", dataset=dataset_result(10)), 10, id="a small result is whole"
        ),
        pytest.param(
            RunResult(outcome="Succeeded", reason="Prepared", dataset=dataset_result(2000)),
            None,
            id="excess columns go",
        ),
        pytest.param(RunResult(outcome="Failed", reason="BadData", message="é" * 5000), 0, id="a long message is cut"),
        pytest.param(RunResult(outcome="Failed", reason="BadData", message='"\\\n' * 4000), 0, id="escapes count"),
    ],
)
def test_a_termination_message_fits_and_keeps_what_matters(result: RunResult, kept_columns: int | None) -> None:
    text = result.to_termination_message()
    assert len(text.encode()) <= TERMINATION_MESSAGE_BYTES
    back = RunResult.model_validate_json(text)
    assert (back.outcome, back.reason) == (result.outcome, result.reason)
    assert bool(back.message) == bool(result.message)
    if result.dataset:
        assert back.dataset is not None
        assert back.dataset.version == REFERENCE
        assert back.dataset.column_count == result.dataset.column_count
        if kept_columns is None:
            assert 0 < len(back.dataset.columns) < result.dataset.column_count
        else:
            assert len(back.dataset.columns) == kept_columns


MODEL = ModelResult(
    version=REFERENCE, bytes=1, formats=["onnx"], metrics={}, step=2, created_at=datetime(2026, 1, 1, tzinfo=UTC)
)


@pytest.mark.parametrize(
    ("result", "field", "earlier"),
    [
        pytest.param({"dataset": dataset_result(3)}, "columnCount", "column_count", id="a Dataset version"),
        pytest.param({"model": MODEL}, "createdAt", "created_at", id="a Model version"),
    ],
)
def test_a_result_is_written_in_camel_case_and_read_as_earlier_pods_wrote_it(
    result: dict[str, DatasetResult | ModelResult], field: str, earlier: str
) -> None:
    written = RunResult(outcome="Succeeded", reason="Done", **result)
    text = written.to_termination_message()
    assert f'"{field}"' in text
    assert earlier not in text
    assert RunResult.model_validate_json(text) == written
    assert RunResult.model_validate_json(text.replace(field, earlier)) == written


def test_a_run_spec_of_a_newer_operator_is_read_without_what_is_unknown() -> None:
    text = json.dumps(
        {
            "apiVersion": "windlass.dev/v1alpha1",
            "kind": "infer",
            "namespace": "team",
            "name": "digits",
            "model": {**REFERENCE.model_dump(), "later": 1},
            "later": {"field": True},
        }
    )
    spec = RUN_SPEC.validate_json(text)
    assert spec.kind == "infer"
    assert spec.model == REFERENCE
