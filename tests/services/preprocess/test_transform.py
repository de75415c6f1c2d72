import datetime
import json
import math
import string
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from windlass_core.errors import BadData
from windlass_preprocess.transform import CategoricalFeature, ClassLabel, NumericFeature, QuantityLabel, Transform

NUMBERS = Transform(
    features=[
        NumericFeature(column="age", type="int64", offset=40, scale=10),
        NumericFeature(column="height", type="float64", offset=1.5, scale=0.5, fill=1.75),
    ],
    label=ClassLabel(column="sick", type="string", classes=["no", "yes"]),
)
MIXED = Transform(
    features=[
        NumericFeature(column="age", type="int64", offset=40, scale=10),
        CategoricalFeature(column="colour", type="string", categories=["blue", "red"], nullable=True),
        NumericFeature(column="member", type="bool"),
        CategoricalFeature(column="rooms", type="int64", categories=[1, 2, 5], encoding="ordinal", unknown="ignore"),
        NumericFeature(column="born", type="date", offset=10, scale=2),
        NumericFeature(column="seen", type="timestamp", fill=7),
    ],
    label=QuantityLabel(column="price", type="float64", mean=3.0, deviation=2.0),
)
ROW: dict[str, Any] = {
    "age": 50,
    "colour": "red",
    "member": True,
    "rooms": 5,
    "born": "1970-01-21",
    "seen": "1970-01-01T00:01:00+00:00",
}


def mixed(**changes: Any) -> list[dict[str, Any]]:
    return [ROW, ROW | changes]


def test_features_have_their_names_and_widths_in_the_order_of_the_columns() -> None:
    assert MIXED.columns == ["age", "colour", "member", "rooms", "born", "seen"]
    assert MIXED.feature_count == 7
    assert MIXED.feature_names == ["age", "colour=blue", "colour=red", "member", "rooms", "born", "seen"]


@pytest.mark.parametrize(
    ("changes", "encoded"),
    [
        pytest.param({}, [1, 0, 1, 1, 2, 5, 60], id="every type"),
        pytest.param({"age": 30.0}, [-1, 0, 1, 1, 2, 5, 60], id="30.0 is an integer to JSON"),
        pytest.param({"colour": None}, [1, 0, 0, 1, 2, 5, 60], id="a missing category is none of them"),
        pytest.param({"member": False}, [1, 0, 1, 0, 2, 5, 60], id="false is 0"),
        pytest.param({"rooms": 4}, [1, 0, 1, 1, -1, 5, 60], id="an unknown ordinal that may be ignored is -1"),
        pytest.param({"rooms": 2.0}, [1, 0, 1, 1, 1, 5, 60], id="2.0 is the category 2"),
        pytest.param({"seen": None}, [1, 0, 1, 1, 2, 5, 7], id="a missing number is filled"),
        pytest.param({"seen": "1970-01-01"}, [1, 0, 1, 1, 2, 5, 0], id="a date alone is midnight UTC"),
        pytest.param({"seen": "1970-01-01T02:00:00+02:00"}, [1, 0, 1, 1, 2, 5, 0], id="an offset is taken into account"),
    ],
)
def test_rows_are_encoded(changes: dict[str, Any], encoded: list[float]) -> None:
    matrix = MIXED.apply_rows(mixed(**changes))
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[1, 0, 1, 1, 2, 5, 60], encoded]
    assert MIXED.apply_rows([list(row.values()) for row in mixed(**changes)]).tolist() == matrix.tolist()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"age": "old"}, "row 1 (counted from 0), column 'age': expected an integer, not 'old'"),
        ({"age": True}, "column 'age': expected an integer, not true"),
        ({"age": [1]}, "column 'age': expected an integer, not [1]"),
        ({"age": 3.5}, "row 1 (counted from 0), column 'age': expected an integer, not 3.5"),
        ({"age": None}, "column 'age': has no value, and the data had one in every row; expected an integer"),
        ({"age": 2**63}, "column 'age': 9223372036854775808 is beyond the range of int64"),
        ({"age": -(2**63) - 1}, "is beyond the range of int64"),
        ({"age": 10**400}, "is beyond the range of int64"),
        ({"age": 10**9999}, "an integer of 33216 bits is beyond the range of int64"),
        ({"age": math.inf}, "column 'age': infinity is no value to compute with"),
        ({"age": math.nan}, "column 'age': NaN is no value to compute with; null stands for no value"),
        ({"colour": "green"}, "column 'colour': 'green' is not among those of the data: blue, red"),
        ({"colour": 3}, "column 'colour': expected text, not 3"),
        ({"member": 1}, "column 'member': expected true or false, not 1"),
        ({"member": None}, "column 'member': has no value"),
        ({"rooms": True}, "column 'rooms': expected an integer, not true"),
        ({"rooms": None}, "column 'rooms': has no value"),
        ({"born": "21.01.1970"}, "column 'born': expected a date as text, for example 2026-01-31, not '21.01.1970'"),
        ({"born": 20}, "column 'born': expected a date as text"),
        ({"seen": "soon"}, "column 'seen': expected a timestamp as text"),
        ({"seen": "x" * 99}, "not '" + "x" * 40 + "…'"),
        ({"price": 3.0}, "row 1 (counted from 0): column 'price' is the label, which is what the model predicts; leave it out"),
        ({"size": 3}, "row 1 (counted from 0): column 'size' is unknown; expected: age, colour, member, rooms, born, seen"),
    ],
)
def test_a_value_that_cannot_be_encoded_is_named_with_row_and_column(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadData) as raised:
        MIXED.apply_rows(mixed(**changes))
    assert sentence in raised.value.message


@pytest.mark.parametrize(
    ("instances", "sentence"),
    [
        pytest.param(
            [{"age": 1}], "row 0 (counted from 0): missing: column height; null stands for no value", id="a column is missing"
        ),
        pytest.param([{}], "missing: columns age, height", id="an empty object"),
        pytest.param(
            [[1, 1.0], [1]], "row 1 (counted from 0): has 1 values, but there are 2 columns: age, height", id="a short list"
        ),
        pytest.param([[1, 1.0, 3]], "has 3 values, but there are 2 columns", id="a long list"),
        pytest.param(
            [3], "row 0 (counted from 0): expected an object of named columns or a list of values, not int", id="a bare number"
        ),
        pytest.param(
            ["ab"], "expected an object of named columns or a list of values, not str", id="text is no list of values"
        ),
        pytest.param([{"age": 1, "sick": "no"}], "column 'sick' is the label", id="the label in place of a column"),
        pytest.param([[1, 1e300]], "row 0 (counted from 0), column 'height': the number is too large", id="beyond float32"),
        pytest.param([[1, 10**400]], "column 'height': infinity is no value", id="beyond float64"),
        pytest.param(
            [[1, math.nan]], "column 'height': NaN is no value to compute with", id="NaN where a value may be missing"
        ),
    ],
)
def test_a_row_of_another_shape_is_named(instances: list[Any], sentence: str) -> None:
    with pytest.raises(BadData) as raised:
        NUMBERS.apply_rows(instances)
    assert sentence in raised.value.message


def test_rows_of_both_kinds_mix_and_no_rows_are_no_rows() -> None:
    assert NUMBERS.apply_rows([{"height": 2.0, "age": 50}, [30, None]]).tolist() == [[1, 1], [-1, 0.5]]
    assert NUMBERS.apply_rows([]).shape == (0, 2)
    assert MIXED.apply_rows([]).shape == (0, 7)


def test_a_single_column_of_objects_takes_the_quick_way_too() -> None:
    transform = Transform(features=[NumericFeature(column="x", type="float64", offset=1, scale=2)])
    assert transform.apply_rows([{"x": 3}, {"x": 1}]).tolist() == [[1], [0]]


COLUMNS: dict[str, Any] = {
    "age": np.array([50, 30]),
    "colour": np.array(["red", None], dtype=object),
    "member": np.array([True, False]),
    "rooms": np.array([5.0, 1.0]),
    "born": np.array(["1970-01-21", "1970-01-11"], dtype="datetime64[D]"),
    "seen": np.array(["1970-01-01T00:01:00", "NaT"], dtype="datetime64[ns]"),
    "price": np.array([1.0, 2.0]),
}


def test_columns_as_parquet_gives_them_are_encoded_and_others_are_not_looked_at() -> None:
    assert MIXED.apply_columns(COLUMNS).tolist() == [[1, 0, 1, 1, 2, 5, 60], [-1, 0, 0, 0, 0, 0, 7]]


def test_integers_with_missing_values_may_come_as_floats() -> None:
    transform = Transform(
        features=[
            NumericFeature(column="x", type="int64", fill=9),
            CategoricalFeature(column="y", type="int64", categories=[1, 2], nullable=True),
        ]
    )
    encoded = transform.apply_columns({"x": np.array([1.0, np.nan]), "y": np.array([np.nan, 2.0])})
    assert encoded.tolist() == [[1, 0, 0], [9, 0, 1]]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"age": None}, "missing: column age; expected: columns age, colour"),
        ({"age": np.array([1, 2, 3])}, "column 'colour' has 2 rows, but column 'age' has 3"),
        ({"age": np.ones((2, 2))}, "a column must be an array of one dimension, not of shape [2, 2]"),
        ({"age": "12"}, "a column must be a list of values, not str"),
        ({"age": np.array(["a", "b"])}, "column 'age': expected an integer in each row, but the array is of type <U1"),
        ({"age": np.array([True, False])}, "column 'age': expected an integer in each row, but the array is of type bool"),
        ({"age": np.array([1.0, 2.5])}, "row 1 (counted from 0), column 'age': expected an integer, not 2.5"),
        ({"age": np.array([1.0, np.nan])}, "row 1 (counted from 0), column 'age': has no value"),
        ({"age": np.array([1.0, -np.inf])}, "column 'age': infinity is no value"),
        ({"colour": np.array([1, 2])}, "column 'colour': expected text in each row, but the array is of type int64"),
        ({"born": np.array([1, 2])}, "column 'born': expected a date as text"),
        (
            {"born": np.array(["1970-01-01", "NaT"], dtype="datetime64[D]")},
            "row 1 (counted from 0), column 'born': has no value",
        ),
        ({"rooms": np.array([1.0, np.nan])}, "row 1 (counted from 0), column 'rooms': has no value"),
    ],
)
def test_a_column_that_cannot_be_encoded_is_named(changes: dict[str, Any], sentence: str) -> None:
    columns = {name: value for name, value in (COLUMNS | changes).items() if value is not None}
    with pytest.raises(BadData) as raised:
        MIXED.apply_columns(columns)
    assert sentence in raised.value.message


@pytest.mark.parametrize(
    ("kind", "classes"),
    [("string", ["a", "b"]), ("int64", [-1, 0, 7]), ("bool", [False, True])],
    ids=["text stays text", "integers stay integers", "booleans stay booleans"],
)
def test_classes_come_back_as_they_stood_in_the_data(kind: Any, classes: list[Any]) -> None:
    label = ClassLabel(column="y", type=kind, classes=classes)
    given = list(reversed(classes))
    indices = ClassLabel.model_validate_json(label.model_dump_json()).encode(given)
    assert indices.tolist() == list(reversed(range(len(classes))))
    decoded = label.decode(indices)
    assert decoded == given
    assert [type(value) for value in decoded] == [type(value) for value in given]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["a", None], "has no value"),
        (["a", "z"], "'z' is not among those of the data: a, b"),
        ([1, "a"], "expected text, not 1"),
    ],
)
def test_a_label_that_is_no_class_is_named(values: list[Any], sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        ClassLabel(column="y", type="string", classes=["a", "b"]).encode(values)


def test_a_quantity_is_encoded_as_it_stands() -> None:
    label = QuantityLabel(column="y", type="float64", mean=10, deviation=3)
    assert label.encode(np.array([1.5, 2.5])).tolist() == [1.5, 2.5]
    assert label.decode(np.array([1.5], dtype=np.float32)) == [1.5]
    with pytest.raises(BadData, match="too large"):
        label.encode([1e300])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"schemaVersion": 2}, id="a later version"),
        pytest.param({"extra": 1}, id="an unknown field"),
        pytest.param({"features": []}, id="no features"),
        pytest.param({"features": [{"kind": "numeric", "column": "sick", "type": "int64"}]}, id="the label is a feature"),
        pytest.param({"features": [{"kind": "numeric", "column": "x", "type": "int64", "scale": 0}]}, id="a scale of 0"),
    ],
)
def test_a_transform_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Transform.from_json(json.dumps(json.loads(NUMBERS.to_json()) | change))


# What a fit can give: means and deviations of data, whose quotients stay far inside float32.
moderate = st.floats(-1e30, 1e30)
numeric_features = st.builds(
    NumericFeature,
    column=st.just("x"),
    type=st.sampled_from(["int64", "float64"]),
    offset=moderate,
    scale=st.floats(min_value=1e-3, max_value=1e30),
    fill=st.one_of(st.none(), moderate),
)
categorical_features = st.builds(
    CategoricalFeature,
    column=st.just("x"),
    type=st.just("string"),
    categories=st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True),
    encoding=st.sampled_from(["oneHot", "ordinal"]),
    unknown=st.sampled_from(["error", "ignore"]),
    nullable=st.booleans(),
)


@st.composite
def transforms(draw: st.DrawFn) -> Transform:
    features = draw(st.lists(st.one_of(numeric_features, categorical_features), min_size=1, max_size=5))
    named = [feature.model_copy(update={"column": f"{string.ascii_lowercase[at]}"}) for at, feature in enumerate(features)]
    return Transform(features=named)


def value_for(feature: NumericFeature | CategoricalFeature) -> st.SearchStrategy[Any]:
    if isinstance(feature, CategoricalFeature):
        return st.sampled_from([*feature.categories, *([None] if feature.nullable else [])])
    numbers = st.integers(-(2**50), 2**50) if feature.type == "int64" else st.floats(-1e6, 1e6)
    return st.one_of(numbers, st.none()) if feature.fill is not None else numbers


@given(st.data())
def test_json_gives_the_same_transform_and_the_same_bits(data: st.DataObject) -> None:
    transform = data.draw(transforms())
    again = Transform.from_json(transform.to_json())
    assert again == transform
    assert again.to_json() == transform.to_json()
    rows = data.draw(st.lists(st.tuples(*map(value_for, transform.features)).map(list), max_size=4))
    first, second = transform.apply_rows(rows), again.apply_rows(rows)
    assert first.tobytes() == second.tobytes()
    assert first.shape == (len(rows), transform.feature_count)
    assert np.isfinite(first).all()


@given(st.data())
def test_every_way_to_give_rows_gives_the_same_bits(data: st.DataObject) -> None:
    transform = data.draw(transforms())
    rows = data.draw(st.lists(st.tuples(*map(value_for, transform.features)).map(list), min_size=1, max_size=4))
    objects = [dict(zip(transform.columns, row, strict=True)) for row in rows]
    as_lists = transform.apply_rows(rows)
    assert transform.apply_rows(objects).tobytes() == as_lists.tobytes()
    assert transform.apply_columns(transform.rows_to_columns(rows)).tobytes() == as_lists.tobytes()


@given(
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())), max_size=3)
)
def test_whatever_json_holds_is_encoded_or_refused_by_a_sentence(row: list[Any]) -> None:
    for transform in (NUMBERS, MIXED):
        with suppress(BadData):
            assert np.isfinite(transform.apply_rows([row, dict(zip(transform.columns, row, strict=False))])).all()


def test_python_dates_are_taken_too() -> None:
    transform = Transform(features=[NumericFeature(column="d", type="date"), NumericFeature(column="t", type="timestamp")])
    day = datetime.date(1970, 1, 3)
    moment = datetime.datetime(1970, 1, 1, 0, 0, 5, tzinfo=datetime.UTC)
    assert transform.apply_columns({"d": [day], "t": [moment]}).tolist() == [[2, 5]]
