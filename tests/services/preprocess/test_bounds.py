"""A run keeps within its memory, and ends when it is asked to stop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_bench import PEOPLE, DatasetBench, Version, numbers

from windlass_core.contracts import RUN_SPEC_VARIABLE, TERMINATION_LOG_VARIABLE, PreprocessRun, RunResult
from windlass_core.errors import BadConfiguration, Stopped
from windlass_core.registry import Registry
from windlass_core.resources import DatasetSpec
from windlass_core.store import Store
from windlass_preprocess.database import Database
from windlass_preprocess.limits import MIB, Limits

LARGE_RUN = """
from pathlib import Path
from dataset_bench import DatasetBench
from windlass_core.store import Store
from windlass_preprocess.limits import MIB, Limits
bench = DatasetBench(Store.open("default"), limits=Limits.within(416 * MIB, 2))
print(bench.limits.memory_bytes // MIB)
bench.prepare("store://raw/large.csv", split={"validation": 0.1, "test": 0.1})
# Not ru_maxrss, which a process inherits from the one that started it.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""

QUERY_RUN = """
import sys
from pathlib import Path
from windlass_core.run import main_run
from windlass_preprocess.database import Database
from windlass_preprocess.limits import MIB, Limits

def execute(_spec, context):
    limits = Limits(memory_bytes=512 * MIB, threads=2)
    told = lambda _percent: print("the query runs", flush=True)
    with Database(Path(sys.argv[1]), limits, context.stop_requested, working=told) as database:
        database.rows("SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range * b.range % 7 = 1")

sys.exit(main_run("test", execute, port=0))
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


def test_sigterm_ends_a_run_in_the_middle_of_a_query(tmp_path: Path) -> None:
    """In a process of its own, as in a pod: the main thread is inside the query when the signal comes."""
    run = PreprocessRun(
        namespace="default", name="data", spec=DatasetSpec.model_validate({"source": {"uri": "store://raw/data.csv"}})
    )
    message, command = tmp_path / "message", [sys.executable, "-X", "faulthandler", "-c", QUERY_RUN, str(tmp_path)]
    environment = {**os.environ, RUN_SPEC_VARIABLE: run.to_json_text(), TERMINATION_LOG_VARIABLE: str(message)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "the query runs\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == Stopped.exit_code
        finally:
            process.kill()
    assert RunResult.model_validate_json(message.read_bytes()).outcome == "Stopped"
