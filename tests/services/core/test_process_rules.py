"""What the parent of several processes decides by: cores, deaths, silence, and metrics that add up."""

import os
from pathlib import Path
from typing import Any

import pytest

from windlass_core.processes.cores import cpu_limit, process_count
from windlass_core.processes.deaths import MAX_DEATHS, QUIET_SECONDS, Deaths
from windlass_core.processes.pulse import START_SECONDS, Pulse
from windlass_core.processes.samples import Merge, merged

GROUPS: dict[str, tuple[str, dict[str, str], float | None]] = {
    "version 2 in a container": ("0::/", {"cpu.max": "150000 100000"}, 1.5),
    "version 2 without a limit": ("0::/", {"cpu.max": "max 100000"}, None),
    "version 2, the parent has the limit": (
        "0::/pods/a",
        {"pods/cpu.max": "200000 100000", "pods/a/cpu.max": "max 100000"},
        2.0,
    ),
    "version 2, the smallest holds": ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "400000 100000"}, 3.0),
    "version 1 in a container": (
        "4:cpu,cpuacct:/x",
        {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
        0.5,
    ),
    "version 1 without a limit": ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    "no control groups": ("", {}, None),
}


@pytest.mark.parametrize(("own", "files", "cores"), GROUPS.values(), ids=GROUPS.keys())
def test_the_limit_of_cores(tmp_path: Path, own: str, files: dict[str, str], cores: float | None) -> None:
    groups = tmp_path / "own"
    groups.write_text(own)
    for name, text in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cpu_limit(tmp_path / "root", groups) == cores


def test_processes_for_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [process_count(limit) for limit in (None, 0.5, 1.0, 1.9, 2.0, 7.5, 64.0)] == [1, 1, 1, 1, 2, 7, 8]


def test_a_process_that_dies_is_started_sooner_at_first_than_later_and_at_last_not_at_all() -> None:
    deaths = Deaths()
    pauses = [deaths.next_start(now=float(number)) for number in range(MAX_DEATHS)]
    assert pauses == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, None]
    assert deaths.next_start(now=10_000.0) == 0.0


def test_deaths_that_are_slow_to_come_are_a_row_all_the_same() -> None:
    deaths = Deaths()
    apart = QUIET_SECONDS - 1
    assert [deaths.next_start(now=apart * number) for number in range(MAX_DEATHS)][-1] is None


def test_a_process_grows_silent_then_hangs_and_lives_again_with_a_word() -> None:
    pulse = Pulse()
    assert not pulse.answers
    pulse.heard()
    seen = []
    for _ in range(6):
        seen.append((pulse.answers, pulse.hangs(4.0)))
        pulse.asked()
    assert seen == [(True, False)] * 4 + [(False, False), (False, True)]
    pulse.heard()
    assert (pulse.answers, pulse.hangs(4.0)) == (True, False)


def test_a_process_that_starts_has_longer_for_its_first_word() -> None:
    pulse = Pulse()
    for _ in range(int(START_SECONDS)):
        pulse.asked()
    assert not pulse.hangs(4.0)
    pulse.asked()
    assert pulse.hangs(4.0)


def family(name: str, kind: str, *samples: tuple[str, dict[str, str], float]) -> dict[str, Any]:
    return {"name": name, "help": "", "type": kind, "unit": "", "samples": [list(sample) for sample in samples]}


def values(snapshot: list[dict[str, Any]]) -> dict[str, float]:
    return {sample[0]: sample[2] for found in snapshot for sample in found["samples"]}


def test_metrics_of_processes_become_those_of_the_pod_by_their_kind() -> None:
    one = [
        family("requests", "counter", ("requests_total", {}, 3), ("requests_created", {}, 100)),
        family("rows_in_flight", "gauge", ("rows_in_flight", {}, 2)),
        family("load_ratio", "gauge", ("load_ratio", {}, 0.5)),
        family("model_info", "gauge", ("model_info", {"version": "1"}, 1)),
        family("process_start_time_seconds", "gauge", ("process_start_time_seconds", {}, 50)),
    ]
    two = [
        family("requests", "counter", ("requests_total", {}, 4), ("requests_created", {}, 200)),
        family("rows_in_flight", "gauge", ("rows_in_flight", {}, 5)),
        family("load_ratio", "gauge", ("load_ratio", {}, 0.7)),
        family("model_info", "gauge", ("model_info", {"version": "1"}, 1)),
        family("process_start_time_seconds", "gauge", ("process_start_time_seconds", {}, 60)),
    ]
    assert values(merged([one, two])) == pytest.approx(
        {
            "requests_total": 7,
            "requests_created": 100,
            "rows_in_flight": 7,
            "load_ratio": 0.6,
            "model_info": 1,
            "process_start_time_seconds": 50,
        }
    )


def test_what_a_dead_process_counted_stays_and_what_it_held_goes() -> None:
    merge = Merge()
    counted = family("requests", "counter", ("requests_total", {}, 3))
    held = family("rows", "gauge", ("rows", {}, 2))
    assert values(merge.update({"0": [counted, held], "1": [counted, held]})) == {"requests_total": 6, "rows": 4}
    merge.retire("0")
    assert values(merge.update({"1": [counted, held]})) == {"requests_total": 6, "rows": 2}
    anew = family("requests", "counter", ("requests_total", {}, 1))
    assert values(merge.update({"0": [anew], "1": [counted, held]})) == {"requests_total": 7, "rows": 2}
