"""A run that ended early goes on where it was and gives the same bytes; whoever else is at its folder does no harm."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from children import free_port

from windlass_core.contracts import Progress, RunResult
from windlass_core.errors import BadConfiguration, BadData
from windlass_infer.batch.run import in_batches

# Enough parts that a run can be ended at any of them, each made in milliseconds.
ROWS, PARTITION_ROWS = 40_000, 50
PARTS = ROWS // PARTITION_ROWS
SECONDS = 45.0


def rows_text(rows: int = ROWS) -> str:
    return "a,b,c\n" + "".join(f"{row / 8},{row % 9},{row}\n" for row in range(rows))


def eventually(probe: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not probe():
        assert process.poll() is None, f"the run ended first:\n{log.read_text()}"
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.002)


@pytest.fixture
def begun(any_works: Any) -> Any:
    any_works.publish("numbers")
    any_works.text("raw/x.csv", rows_text())
    return any_works


def spec_of(works: Any, **fields: Any) -> Any:
    return works.spec("numbers", "store://raw/x.csv", **({"partition_rows": PARTITION_ROWS, "keep": ["c"]} | fields))


KILLS = {
    "as soon as it owns its folder": lambda works: any(works.store.list("predictions/out")),
    "at its first part": lambda works: works.has_part(0),
    "at its fortieth part": lambda works: works.has_part(39),
    "near its end": lambda works: works.has_part(PARTS - 300),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", KILLS.values(), ids=KILLS)
def test_a_run_that_is_killed_gives_the_same_bytes_when_it_is_started_again(point: Any, begun: Any, tmp_path: Path) -> None:
    spec, log = spec_of(begun), tmp_path / "log"
    process = begun.start(spec, log, tmp_path / "message")
    try:
        eventually(lambda: point(begun), process, log)
    finally:
        process.kill()
        process.wait()
    left = begun.files()
    assert all(data[:4] == data[-4:] == b"PAR1" for data in left.values())
    result = begun.run(spec)
    assert f"{len(left):,} parts were there before" in result.message if left else "before" not in result.message
    found = begun.files()
    assert {path: found[path] for path in left} == left
    begun.run(spec_of(begun, output="store://predictions/undisturbed"))
    for path, data in found.items():
        assert begun.store.read(path.replace("/out/", "/undisturbed/")) == data
    assert (result.predictions.parts, result.predictions.rows) == (PARTS, ROWS)
    assert begun.table()["c"] == [str(row) for row in range(ROWS)]


@pytest.mark.timeout(120)
def test_a_run_that_is_asked_to_stop_ends_with_44_after_the_parts_it_had_begun(begun: Any, tmp_path: Path) -> None:
    spec, log, message = spec_of(begun, partition_rows=20), tmp_path / "log", tmp_path / "message"
    process = begun.start(spec, log, message)
    eventually(lambda: begun.has_part(4), process, log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 44, log.read_text()
    result = RunResult.model_validate_json(message.read_bytes())
    assert (result.outcome, result.reason) == ("Stopped", "Stopped")
    assert "it can go on" in result.message
    assert 5 <= begun.parts() < ROWS // 20
    again = begun.start(spec, log, message)
    assert again.wait(SECONDS) == 0, log.read_text()
    result = RunResult.model_validate_json(message.read_bytes())
    assert result.predictions is not None
    assert (result.reason, result.predictions.parts) == ("Predicted", ROWS // 20)


@pytest.mark.timeout(120)
def test_two_runs_of_one_spec_at_once_make_one_whole(begun: Any, tmp_path: Path) -> None:
    spec = spec_of(begun)
    logs = [tmp_path / "log-1", tmp_path / "log-2"]
    both = [begun.start(spec, log, tmp_path / f"message-{number}") for number, log in enumerate(logs)]
    for process, log in zip(both, logs, strict=True):
        assert process.wait(SECONDS) == 0, log.read_text()
    results = [RunResult.model_validate_json((tmp_path / f"message-{number}").read_bytes()) for number in range(2)]
    assert results[0].predictions == results[1].predictions
    assert begun.table()["c"] == [str(row) for row in range(ROWS)]


def test_several_engines_give_the_same_bytes_as_one(works: Any) -> None:
    works.publish("numbers")
    works.text("raw/x.csv", rows_text(500))
    works.run(spec_of(works))
    one = works.files()
    works.run(spec_of(works, engines=3, output="store://predictions/three"))
    assert [works.store.read(path.replace("/out/", "/three/")) for path in one] == list(one.values())


@pytest.fixture
def done(works: Any) -> Any:
    """A store with a run that is whole."""
    works.publish("numbers")
    works.text("raw/x.csv", rows_text(500))
    works.run(spec_of(works))
    return works


def test_a_run_that_is_whole_is_not_done_again(done: Any) -> None:
    before = done.store.head("predictions/out/_manifest.json")
    result = done.run(spec_of(done))
    assert (result.outcome, result.message) == ("Succeeded", "the same predictions were made before")
    assert done.store.head("predictions/out/_manifest.json") == before


def test_only_parts_that_are_missing_are_computed(done: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = done.files()
    done.store.delete(["predictions/out/_manifest.json", *list(before)[3:5]])
    computed: list[int] = []

    def counting(engine: Any, arrays: Any, rows: int, batch_rows: int) -> Any:
        computed.append(rows)
        return in_batches(engine, arrays, rows, batch_rows)

    monkeypatch.setattr("windlass_infer.batch.run.in_batches", counting)
    done.run(spec_of(done))
    assert computed == [PARTITION_ROWS] * 2
    assert done.files() == before


def test_a_run_goes_on_with_the_version_and_the_files_that_it_began_with(done: Any) -> None:
    before = done.files()
    done.store.delete(["predictions/out/_manifest.json", *list(before)[:2]])
    done.publish_again("numbers")
    result = done.run(spec_of(done))
    assert result.predictions.model.version == 1
    assert done.files() == before


def test_a_folder_of_another_run_is_left_alone(done: Any) -> None:
    before = done.files()
    with pytest.raises(BadConfiguration, match="holds the predictions of another run") as raised:
        done.run(spec_of(done, keep=[]))
    assert raised.value.reason == "OutputTaken"
    assert done.files() == before


def test_a_file_that_was_replaced_meanwhile_is_refused(done: Any) -> None:
    done.store.delete(["predictions/out/_manifest.json", *list(done.files())[:2]])
    done.text("raw/x.csv", rows_text(501))
    with pytest.raises(BadData, match="was replaced after this run had begun") as raised:
        done.run(spec_of(done))
    assert raised.value.reason == "InputChanged"


def test_a_part_that_another_program_left_is_refused_by_name(done: Any) -> None:
    [first, *_] = done.files()
    done.store.delete(["predictions/out/_manifest.json"])
    done.text(first, "not ours")
    with pytest.raises(BadData, match=f"{first}: it is no part that this program wrote"):
        done.run(spec_of(done))


@pytest.mark.timeout(120)
def test_progress_tells_rows_and_the_time_that_is_left(works: Any, tmp_path: Path) -> None:
    works.publish("numbers")
    works.text("raw/x.csv", rows_text(200_000))
    port, log = free_port(), tmp_path / "log"
    process = works.start(spec_of(works, partition_rows=10), log, tmp_path / "message", "--port", str(port))
    seen: list[Progress] = []

    def told() -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/progress", timeout=5)
        except httpx.TransportError:
            return False
        seen.append(Progress.model_validate(answer.json()))
        return seen[-1].phase == "Predicting" and (seen[-1].rows or 0) > 0

    try:
        eventually(told, process, log)
    finally:
        process.kill()
        process.wait()
    assert seen[-1].engine == "onnxruntime"
    assert seen[-1].eta_seconds is not None
    assert seen[-1].eta_seconds > 0
    assert (seen[-1].samples_per_second or 0) > 0


ENDS: dict[str, tuple[list[str], int, str]] = {
    "a wrong row": (["--input", "store://raw/bad.csv"], 41, "row 2 of store://raw/bad.csv"),
    "options that do not say what to do": ([], 40, "give --output and either --dataset or --input"),
    "a model that is not there": (["--model", "no", "--input", "store://raw/bad.csv"], 1, "'no' has no version"),
}


@pytest.mark.parametrize(("options", "code", "sentence"), ENDS.values(), ids=ENDS)
def test_the_end_of_a_run_is_told_by_code_and_message(
    options: list[str], code: int, sentence: str, works: Any, tmp_path: Path
) -> None:
    works.publish("numbers")
    works.text("raw/bad.csv", "a,b,c\n1,2,3\n4,five,6\n")
    always = ["--model", "numbers", "--namespace", "team", "--engine", "onnxruntime"]
    output = ["--output", "store://predictions/out"] if options else []
    process = works.start(spec_of(works), tmp_path / "log", tmp_path / "message", *always, *output, *options)
    assert process.wait(SECONDS) == code
    said = json.loads((tmp_path / "message").read_text())
    assert (said["outcome"], sentence in said["message"]) == ("Failed", True)
    assert "Traceback" not in (tmp_path / "log").read_text()
