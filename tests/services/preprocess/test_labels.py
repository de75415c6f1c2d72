"""What a label is taken for: classes or a quantity."""

from typing import Any

import numpy as np
import pytest
from dataset_bench import HELD_OUT, DatasetBench


@pytest.mark.parametrize(
    ("labels", "task", "found", "classes"),
    [
        pytest.param(["a", "b"] * 10, None, "classification", ["a", "b"], id="text names classes"),
        pytest.param(["true", "false"] * 10, None, "classification", [False, True], id="booleans are classes"),
        pytest.param([3, 1, 2, 1] * 5, None, "classification", [1, 2, 3], id="few integers are classes"),
        pytest.param(range(20), None, "regression", None, id="integers that hardly come twice are quantities"),
        pytest.param([n % 101 for n in range(300)], None, "regression", None, id="more than 100 integers are quantities"),
        pytest.param([3, 1, 2, 1] * 5, "regression", "regression", None, id="the spec makes integers quantities"),
        pytest.param(range(20), "classification", "classification", list(range(20)), id="the spec makes integers classes"),
        pytest.param([1.5, 2.5] * 10, None, "regression", None, id="fractions are quantities"),
    ],
)
def test_the_task(bench: DatasetBench, labels: Any, task: str | None, found: str, classes: list[Any] | None) -> None:
    text = "x,y\n" + "".join(f"{number},{label}\n" for number, label in enumerate(labels))
    version = bench.prepare_csv(text, label="y", **({"task": task} if task else {}))
    assert (version.content.task, version.content.classes) == (found, classes)
    label = version.transform.label
    assert label is not None
    assert label.kind == ("classes" if found == "classification" else "quantity")


def test_a_quantity_brings_mean_and_deviation_of_the_training_split(bench: DatasetBench) -> None:
    version = bench.prepare_csv("x,y\n" + "".join(f"{n},{n * 2}.5\n" for n in range(50)), label="y", split=HELD_OUT)
    values = np.array([row["y"] for row in version.rows("train")])
    label = version.transform.label
    assert label is not None
    assert label.kind == "quantity"
    assert [label.mean, label.deviation] == pytest.approx([values.mean(), values.std()])
