"""A run of preprocess from a raw file to a published version: what it holds, and how the run tells its progress."""

import json
import threading
from collections import Counter
from typing import Any

import pytest
from dataset_bench import HELD_OUT, PEOPLE, DatasetBench

from windlass_core.contracts import InferServe, VersionReference
from windlass_core.errors import BadConfiguration
from windlass_core.run import ProgressBoard, RunContext
from windlass_core.store import Store
from windlass_preprocess.pipeline import execute


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
