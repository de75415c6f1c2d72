import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_bench import DatasetBench, Version
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass_core.contracts import InferServe, VersionReference
from windlass_core.errors import BadConfiguration, BadData, Stopped, WindlassError
from windlass_core.registry import Registry
from windlass_core.run import ProgressBoard, RunContext
from windlass_core.store import Store
from windlass_preprocess.database import Database
from windlass_preprocess.limits import MIB, Limits
from windlass_preprocess.pipeline import execute

PEOPLE = "age,colour,member,born,sick\n" + "".join(
    f"{20 + number % 50},{'red' if number % 3 else 'blue'},{'true' if number % 2 else 'false'},"
    f"1970-01-{1 + number % 28:02},{'yes' if number % 4 == 0 else 'no'}\n"
    for number in range(200)
)
HELD_OUT = {"validation": 0.1, "test": 0.2}


def test_a_version_holds_splits_transform_profile_preview_and_what_it_was_made_of(bench: DatasetBench) -> None:
    version = bench.prepare_csv(PEOPLE, label="sick", split=HELD_OUT)
    content = version.content
    assert (content.rows, content.label, content.task, content.classes) == (200, "sick", "classification", ["no", "yes"])
    assert {name: split.rows for name, split in content.splits.items()} == {"train": 140, "validation": 20, "test": 40}
    assert content.source == ["store://raw/data.csv"]
    assert content.source_digests[0].startswith("sha256:")
    assert sorted(file.path for file in version.published.manifest.files) == [
        "preview.json",
        "profile.json",
        "test/part-00000.parquet",
        "train/part-00000.parquet",
        "transform.json",
        "validation/part-00000.parquet",
    ]
    rows = sorted(map(json.dumps, [{**row, "born": row["born"].isoformat()} for row in version.all_rows()]))
    assert len(rows) == 200
    assert Counter(row["sick"] for row in version.all_rows()) == {"no": 150, "yes": 50}


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


def numbers(rows: int) -> str:
    source = random.Random(3)  # noqa: S311
    lines = (
        f"{source.random()},{source.gauss(0, 1e6)},{source.randrange(5)},{'abc'[source.randrange(3)]}" for _ in range(rows)
    )
    return "a,b,c,y\n" + "\n".join(lines) + "\n"


def test_the_same_input_gives_the_same_bytes_whatever_the_number_of_threads(bench: DatasetBench) -> None:
    text = numbers(150_000)
    digests = []
    for threads in (1, 2, 4):
        bench.limits = Limits(memory_bytes=512 * MIB, threads=threads)
        digests.append(bench.prepare_csv(text, name=f"threads-{threads}", label="y", split=HELD_OUT).digests())
    assert digests[0] == digests[1] == digests[2]


def test_the_same_input_finds_the_version_that_was_made(bench: DatasetBench) -> None:
    first = bench.run(bench.upload("data.csv", PEOPLE), label="sick")
    again = bench.run("store://raw/data.csv", label="sick", resources={"memory": "1Gi"})
    assert first.dataset == again.dataset
    assert Registry(bench.store, "datasets").versions("data") == [1]
    assert again.message == "the same source and spec were prepared before"


@pytest.mark.parametrize("change", ["source", "spec"])
def test_another_input_is_another_version(bench: DatasetBench, change: str) -> None:
    bench.prepare_csv(PEOPLE, label="sick")
    version = bench.prepare_csv(
        PEOPLE + "1,red,true,1970-01-01,no\n" * (change == "source"),
        label="sick",
        split={"test": 0.3 if change == "spec" else 0, "validation": 0},
    )
    assert version.published.reference.version == 2
    assert Registry(bench.store, "datasets").versions("data") == [1, 2]


def test_the_profile_tells_what_the_columns_hold(bench: DatasetBench) -> None:
    text = "n,x,c,f,d\n1,1.5,red,true,2026-01-01\n2,,red,false,2026-01-03\n3,4.5,blue,true,2026-01-02\n"
    profile = bench.prepare_csv(text).profile
    assert {name: (column["type"], column["missing"], column["distinct"]) for name, column in profile.items()} == {
        "n": ("int64", 0, 3),
        "x": ("float64", 1, 2),
        "c": ("string", 0, 2),
        "f": ("bool", 0, 2),
        "d": ("date", 0, 3),
    }
    assert (profile["x"]["minimum"], profile["x"]["maximum"], profile["x"]["mean"], profile["x"]["deviation"]) == (
        1.5,
        4.5,
        3,
        1.5,
    )
    assert profile["c"]["top"] == [{"value": "red", "rows": 2}, {"value": "blue", "rows": 1}]
    assert profile["f"]["mean"] == pytest.approx(2 / 3)
    assert (profile["d"]["minimum"], profile["d"]["maximum"]) == ("2026-01-01", "2026-01-03")
    assert sum(bin_["rows"] for bin_ in profile["x"]["histogram"]) == 2
    assert profile["x"]["histogram"][0] == {"from": 1.5, "to": pytest.approx(1.65), "rows": 1}


def test_the_preview_holds_the_first_rows_of_each_split(bench: DatasetBench) -> None:
    version = bench.prepare_csv(PEOPLE, label="sick", split=HELD_OUT)
    preview = json.loads(version.published.read("preview.json"))
    assert {split: len(rows) for split, rows in preview.items()} == {"train": 100, "validation": 20, "test": 40}
    assert preview["test"][0] == {
        key: getattr(value, "isoformat", lambda v=value: v)() for key, value in version.rows("test")[0].items()
    }


LARGE_RUN = """
import resource, sys, threading
from dataset_bench import DatasetBench, Version
from windlass_core.store import Store
from windlass_preprocess.database import Database
from windlass_preprocess.limits import MIB, Limits
bench = DatasetBench(Store.open("default"), limits=Limits.within(416 * MIB, 2))
print(bench.limits.memory_bytes // MIB)
bench.prepare("store://raw/large.csv", split={"validation": 0.1, "test": 0.1})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.timeout(240)  # a fifth of that where nothing else runs
def test_data_larger_than_memory_is_prepared_within_it(tmp_path: Path) -> None:
    """190 MB of text in a container of 416 MiB, of which 120 MiB are for data and the rest for programs."""
    raw = tmp_path / "default" / "raw"
    raw.mkdir(parents=True)
    names = ",".join(f"c{number}" for number in range(30))
    values = ",".join(["0.12345678901234"] * 29)
    with (raw / "large.csv").open("w") as file:
        file.write(f"{names}\n")
        file.writelines(f"{number}.{number * 7919},{values}\n" for number in range(400_000))
    assert (raw / "large.csv").stat().st_size > 190_000_000
    environment = {**os.environ, "WINDLASS_STORE_URL": f"file://{tmp_path}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LARGE_RUN], env=environment, capture_output=True, text=True, check=True)
    database, peak = map(int, done.stdout.split())
    assert database == 120
    assert peak <= 416
    version = Version(Registry(Store.open("default", environment), "datasets").open("data", 1))
    assert version.content.rows == 400_000
    assert version.profile["c0"]["maximum"] > 399_999


def test_too_little_memory_is_told_with_what_to_raise(bench: DatasetBench) -> None:
    bench.limits = Limits(memory_bytes=8 * MIB, threads=2)
    with pytest.raises(BadConfiguration, match=r"raise spec.resources.memory") as raised:
        bench.prepare_csv(numbers(200_000))
    assert raised.value.reason == "OutOfMemory"


def test_a_run_waits_for_its_source_says_so_and_goes_on_when_it_appears(bench: DatasetBench) -> None:
    board = bench.context.progress
    uploaded = threading.Event()

    def upload_when_waiting() -> None:
        while board.current().phase != "WaitingForSource" or not board.current().message:
            if uploaded.wait(0.01):
                return
        bench.upload("late.csv", "x\n1\n2\n")
        uploaded.set()

    thread = threading.Thread(target=upload_when_waiting)
    thread.start()
    result = bench.run("store://raw/late.csv", wait_seconds=30)
    uploaded.set()
    thread.join()
    assert result.dataset is not None
    assert result.dataset.rows == 2


def test_progress_ends_with_publishing_and_all_rows(bench: DatasetBench) -> None:
    seen: list[tuple[str, int | None]] = []

    class Recording(ProgressBoard):
        def update(self, **fields: Any) -> None:
            super().update(**fields)
            seen.append((self.current().phase, self.current().rows))

    bench.context = RunContext(Recording(), threading.Event())
    bench.prepare_csv(PEOPLE, split=HELD_OUT)
    phases = list(dict.fromkeys(phase for phase, _ in seen))
    assert phases == ["WaitingForSource", "Reading", "Fitting", "Writing", "Publishing"]
    assert seen[-1] == ("Publishing", 200)
    assert ("Writing", 200) in seen


@pytest.mark.parametrize("when", ["before", "while it waits"])
def test_a_request_to_stop_ends_a_run(bench: DatasetBench, when: str) -> None:
    if when == "before":
        bench.upload("data.csv", PEOPLE)
    bench.context.stop_requested.set()
    with pytest.raises(Stopped):
        bench.run("store://raw/data.csv", wait_seconds=30)
    assert bench.store.folders("datasets") == []


def test_a_long_query_tells_how_far_it_is(bench: DatasetBench, tmp_path: Path) -> None:
    told: list[float] = []

    def tell(percent: float) -> None:
        told.append(percent)
        bench.context.stop_requested.set()

    with Database(tmp_path, bench.limits, bench.context.stop_requested, working=tell) as database:
        database.run("CREATE TABLE numbers AS SELECT range AS n FROM range(1000000)")
        with pytest.raises(Stopped):
            database.rows("SELECT count(*) FROM numbers a, numbers b WHERE a.n * b.n % 7 = 1")
    assert 0 <= told[0] <= 100


def test_sigterm_interrupts_a_query_that_runs(bench: DatasetBench, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: bench.context.stop_requested.set())
    try:
        with Database(tmp_path, bench.limits, bench.context.stop_requested) as database:
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
            timer.start()
            with pytest.raises(Stopped):
                database.rows("SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range * b.range % 7 = 1")
            timer.join()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_same_table_comes_from_every_store(store: Store) -> None:
    bench = DatasetBench(store)
    version = bench.prepare_csv(PEOPLE, label="sick", split=HELD_OUT)
    assert [split.rows for split in version.content.splits.values()] == [140, 20, 40]
    assert bench.run("store://raw/data.csv", label="sick", split=HELD_OUT).message.startswith("the same source")


def test_a_run_of_another_kind_is_refused() -> None:
    run = InferServe(
        namespace="n", name="x", model=VersionReference(name="x", version=1, uri="store://models/x/1", digest="sha256:0")
    )
    with pytest.raises(BadConfiguration, match="kind infer was given to windlass-preprocess"):
        execute(run, RunContext(ProgressBoard(), threading.Event()))
