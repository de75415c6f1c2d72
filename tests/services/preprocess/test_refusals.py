"""What cannot be prepared is refused with a sentence that names the field, the column or the rows, and publishes nothing."""

from typing import Any

import pytest
from dataset_bench import DatasetBench

from windlass_core.errors import BadConfiguration, BadData, WindlassError


@pytest.mark.parametrize(
    ("spec", "kind", "reason", "sentence"),
    [
        pytest.param(
            {"label": "digit"},
            BadData,
            "LabelNotFound",
            "the data has no column 'digit', which spec.label names; it has: n, text, y",
            id="a label that is not there",
        ),
        pytest.param(
            {"label": "gap"},
            BadData,
            "LabelMissing",
            "the label 'gap' has no value in 2 of 6 rows: row 2 of store://raw/data.csv; row 4 of store://raw/data.csv",
            id="a label with gaps",
        ),
        pytest.param({"label": "same"}, BadData, "OneClass", "the label 'same' is 7 in every row", id="one class alone"),
        pytest.param(
            {"label": "text", "task": "regression"},
            BadConfiguration,
            "BadConfiguration",
            "the label 'text' is of type string, which is no label for regression",
            id="text is no quantity",
        ),
        pytest.param(
            {"label": "half", "task": "classification"},
            BadConfiguration,
            "BadConfiguration",
            "of type float64, which is no label for classification",
            id="fractions are no classes",
        ),
        pytest.param(
            {"label": "day"}, BadConfiguration, "BadConfiguration", "the label 'day' is of type date", id="a date is no label"
        ),
        pytest.param(
            {"steps": [{"scale": {"columns": ["size"]}}]},
            BadConfiguration,
            "ColumnNotFound",
            "spec.steps[0] names column 'size', which the data does not have; it has: n, text",
            id="a step for a column that is not there",
        ),
        pytest.param(
            {"steps": [{"drop": {"columns": ["n"]}}, {"scale": {"columns": ["n"]}}]},
            BadConfiguration,
            "BadConfiguration",
            "spec.steps[1] names column 'n', which spec.steps[0] drops",
            id="a step for a dropped column",
        ),
        pytest.param(
            {"label": "y", "steps": [{"drop": {"columns": ["y"]}}]},
            BadConfiguration,
            "BadConfiguration",
            "names 'y', which is the label",
            id="a step for the label",
        ),
        pytest.param(
            {"steps": [{"scale": {"columns": ["text"]}}]},
            BadConfiguration,
            "BadConfiguration",
            "spec.steps[0] cannot scale column 'text', which is of type string",
            id="text cannot be scaled",
        ),
        pytest.param(
            {"steps": [{"encode": {"columns": ["half"]}}]},
            BadConfiguration,
            "BadConfiguration",
            "spec.steps[0] cannot encode column 'half', which is of type float64",
            id="fractions cannot be categories",
        ),
        pytest.param(
            {"split": {"validation": 0.05, "test": 0.2}},
            BadData,
            "TooFewRows",
            "spec.split.validation of 0.05 leaves no row out of 6",
            id="too few rows for validation",
        ),
        pytest.param(
            {"label": "text", "split": {"validation": 0.4, "test": 0.4}},
            BadData,
            "TooFewRows",
            "6 rows leave 2 for training, which does not do for 3 classes",
            id="too few rows for the classes",
        ),
        pytest.param(
            {"label": "n", "steps": [{"drop": {"columns": ["text", "y", "gap", "same", "half", "day"]}}]},
            BadData,
            "BadData",
            "no column is left to learn from",
            id="nothing left to learn from",
        ),
        pytest.param(
            {"steps": [{"drop": {"columns": ["n", "text", "y", "gap", "same", "half", "day"]}}]},
            BadData,
            "BadData",
            "every column is dropped",
            id="nothing left at all",
        ),
    ],
)
def test_what_cannot_be_prepared_is_told(
    bench: DatasetBench, spec: dict[str, Any], kind: type[WindlassError], reason: str, sentence: str
) -> None:
    text = "n,text,y,gap,same,half,day\n" + "".join(
        f"{n},{'abc'[n % 3]},{n % 2},{'' if n in (1, 3) else 1},7,{n}.5,2026-01-0{n + 1}\n" for n in range(6)
    )
    with pytest.raises(kind) as raised:
        bench.prepare_csv(text, **spec)
    assert raised.value.reason == reason
    assert sentence in raised.value.message
    assert bench.store.folders("datasets") == []


def test_a_header_that_is_missing_is_guessed_when_the_label_is_not_found(bench: DatasetBench) -> None:
    with pytest.raises(BadData, match="is the header line missing"):
        bench.prepare_csv("5.1,3.5,0\n4.9,3.0,1\n", label="species")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            "".join(f"name{n},{n % 2}\n" for n in range(1001)), "column 'x' has more than 1,000 categories", id="categories"
        ),
        pytest.param(
            "".join(f"{n},name{n}\n" for n in range(1001)), "the label 'y' has 1,001 classes, more than 1,000", id="classes"
        ),
    ],
)
def test_names_are_not_taken_for_categories(bench: DatasetBench, text: str, sentence: str) -> None:
    with pytest.raises(BadData) as raised:
        bench.prepare_csv("x,y\n" + text, label="y")
    assert sentence in raised.value.message
