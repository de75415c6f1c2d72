"""Which features the steps make of the columns, and how the numbers in them are fitted."""

from typing import Any

import pytest
from dataset_bench import HELD_OUT, PEOPLE, DatasetBench


def test_the_transform_is_fitted_on_the_training_split_and_applies_to_all(bench: DatasetBench) -> None:
    version = bench.prepare_csv(PEOPLE, label="sick", split=HELD_OUT)
    transform = version.transform
    assert transform.feature_names == ["age", "colour=blue", "colour=red", "member", "born"]
    table = version.table("train")
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    encoded = transform.apply_columns(columns)
    assert encoded.mean(axis=0)[[0, 4]] == pytest.approx([0, 0], abs=1e-5)
    assert encoded.std(axis=0)[[0, 4]] == pytest.approx([1, 1], abs=1e-5)
    assert set(encoded[:, 1:4].ravel().tolist()) == {0.0, 1.0}
    test = version.table("test")
    held_out = transform.apply_columns({name: test.column(name).to_numpy() for name in test.column_names})
    assert held_out.shape == (40, 5)
    assert held_out.mean(axis=0)[0] != pytest.approx(0, abs=1e-5)
    assert transform.label is not None
    assert transform.label.decode(transform.label.encode(columns["sick"]))[:3] == columns["sick"].tolist()[:3]


@pytest.mark.parametrize(
    ("steps", "age", "names"),
    [
        pytest.param(
            [],
            "standard",
            ["age", "colour=blue", "colour=red"],
            id="without steps numbers are standardised, categories one-hot",
        ),
        pytest.param([{"scale": {"method": "minMax"}}], "minMax", ["age", "colour=blue", "colour=red"], id="minMax"),
        pytest.param(
            [{"scale": {"method": "none"}}], "none", ["age", "colour=blue", "colour=red"], id="none leaves numbers as they are"
        ),
        pytest.param(
            [{"scale": {"method": "minMax"}}, {"scale": {"method": "none", "columns": ["age"]}}],
            "none",
            ["age", "colour=blue", "colour=red"],
            id="a later step wins",
        ),
        pytest.param([{"encode": {"method": "ordinal"}}], "standard", ["age", "colour"], id="ordinal"),
        pytest.param([{"drop": {"columns": ["colour"]}}], "standard", ["age"], id="dropped"),
        pytest.param(
            [{"encode": {"columns": ["age"]}}, {"scale": {}}],
            None,
            ["age=1", "age=2", "age=3", "colour=blue", "colour=red"],
            id="an integer may be a category, and stays one",
        ),
    ],
)
def test_steps(bench: DatasetBench, steps: list[Any], age: str | None, names: list[str]) -> None:
    text = "age,colour,y\n1,red,a\n2,blue,b\n3,red,a\n"
    version = bench.prepare_csv(text, label="y", steps=steps)
    assert version.transform.feature_names == names
    scaled = {
        "standard": pytest.approx([-1.2247449, 0, 1.2247449]),
        "minMax": [0, 0.5, 1],
        "none": [1, 2, 3],
        None: [1, 0, 0],
    }
    columns = {name: version.table("train").column(name).to_numpy() for name in version.table("train").column_names}
    assert version.transform.apply_columns(columns)[:, 0].tolist() == scaled[age]


def test_many_categories_may_be_ordinal(bench: DatasetBench) -> None:
    text = "x,y\n" + "".join(f"name{n},{n % 2}\n" for n in range(1001))
    version = bench.prepare_csv(text, label="y", steps=[{"encode": {"method": "ordinal"}}])
    assert version.transform.feature_count == 1


def test_missing_values_are_filled_with_the_mean_of_the_training_split(bench: DatasetBench) -> None:
    version = bench.prepare_csv("x,c,y\n1,a,0\n,b,1\n3,,0\n", label="y", steps=[{"scale": {"method": "none"}}])
    assert [(column.name, column.nullable) for column in version.content.columns] == [("x", True), ("c", True), ("y", False)]
    assert version.transform.apply_rows([{"x": None, "c": None}]).tolist() == [[2, 0, 0]]


def test_a_constant_column_becomes_zero_and_not_noise(bench: DatasetBench) -> None:
    version = bench.prepare_csv("x,z,y\n" + "".join(f"0.1,5,{n % 2}\n" for n in range(30)), label="y")
    assert version.transform.apply_rows([[0.1, 5]]).tolist() == [[pytest.approx(0, abs=1e-6), 0]]
