"""A run keeps within its memory, and ends when it is asked to stop."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dataset_bench import PEOPLE, DatasetBench, Version, numbers

from windlass_core.errors import BadConfiguration, Stopped
from windlass_core.registry import Registry
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


def test_sigterm_interrupts_a_query_that_runs(bench: DatasetBench, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: bench.context.stop_requested.set())
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        with Database(tmp_path, bench.limits, bench.context.stop_requested) as database:
            timer.start()
            with pytest.raises(Stopped):
                database.rows("SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range * b.range % 7 = 1")
    finally:
        # The signal ends the whole test run unless it is handled, so the handler stays until it cannot come any more.
        timer.cancel()
        if timer.is_alive():
            timer.join()
        signal.signal(signal.SIGTERM, before)
