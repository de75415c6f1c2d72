"""Every row is in exactly one split, in the shares asked for, each class in proportion."""

import random
from collections import Counter

import pytest
from dataset_bench import HELD_OUT, PEOPLE, DatasetBench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass_core.errors import BadData


@pytest.mark.parametrize("classes", [{"a": 50, "b": 30, "c": 20}, {"a": 98, "b": 1, "c": 1}, {"a": 34, "b": 33, "c": 33}])
def test_held_out_shares_are_exact_and_each_class_is_in_proportion(bench: DatasetBench, classes: dict[str, int]) -> None:
    labels = [label for label, count in classes.items() for _ in range(count)]
    random.Random(1).shuffle(labels)  # noqa: S311
    text = "x,y\n" + "".join(f"{number},{label}\n" for number, label in enumerate(labels))
    version = bench.prepare_csv(text, label="y", split={"validation": 0.15, "test": 0.2})
    counted = {split: Counter(row["y"] for row in version.rows(split)) for split in ("train", "validation", "test")}
    assert {split: counts.total() for split, counts in counted.items()} == {"train": 65, "validation": 15, "test": 20}
    for label, count in classes.items():
        assert counted["train"][label] >= 1
        assert abs(counted["test"][label] - 0.2 * count) <= 1.5
        assert abs(counted["validation"][label] - 0.15 * count) <= 1.5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(2, 60), validation=st.floats(0, 0.4), test=st.floats(0, 0.4), seed=st.integers(0, 2**31 - 1))
def test_no_row_is_lost_or_in_two_splits(bench: DatasetBench, rows: int, validation: float, test: float, seed: int) -> None:
    text = "x\n" + "".join(f"{number}\n" for number in range(rows))
    split = {"validation": validation, "test": test, "seed": seed}
    try:
        version = bench.prepare_csv(text, split=split)
    except BadData as error:
        assert error.reason == "TooFewRows"  # noqa: PT017
        return
    assert sorted(row["x"] for row in version.all_rows()) == list(range(rows))
    counts = {name: part.rows for name, part in version.content.splits.items()}
    assert counts["test"] == round(rows * test)
    assert counts["validation"] == round(rows * validation)


def test_another_seed_gives_another_split_and_the_same_seed_the_same(bench: DatasetBench) -> None:
    first, again, other = (
        {row["age"] * 1000 + row["born"].day for row in version.rows("test")}
        for version in (
            bench.prepare_csv(PEOPLE, name="first", split=HELD_OUT | {"seed": 1}),
            bench.prepare_csv(PEOPLE, name="again", split=HELD_OUT | {"seed": 1}),
            bench.prepare_csv(PEOPLE, name="other", split=HELD_OUT | {"seed": 2}),
        )
    )
    assert first == again
    assert first != other
