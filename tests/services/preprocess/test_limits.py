from pathlib import Path

import pytest

from windlass_preprocess.limits import MIB, Limits


@pytest.mark.parametrize(
    ("files", "memory", "threads"),
    [
        pytest.param({"memory.max": "1073741824", "cpu.max": "100000 100000"}, 576, 1, id="a pod of 1 GiB and one core"),
        pytest.param(
            {"memory.max": "1073741824", "cpu.max": "150000 100000"}, 576, 2, id="one and a half cores are two threads"
        ),
        pytest.param({"memory.max": "1073741824", "cpu.max": "max 100000"}, 576, 2, id="no quota is what the machine has"),
        pytest.param({"memory.max": "268435456", "cpu.max": "400000 100000"}, 96, 1, id="little memory means few threads"),
        pytest.param(
            {
                "memory/memory.limit_in_bytes": "1073741824",
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            576,
            1,
            id="the first version of the kernel's interface",
        ),
    ],
)
def test_limits_follow_the_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], memory: int, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {0, 1})
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert Limits.of_this_container(tmp_path) == Limits(memory_bytes=memory * MIB, threads=threads)


@pytest.mark.parametrize("files", [{}, {"memory.max": "max"}, {"memory/memory.limit_in_bytes": "9223372036854771712"}])
def test_without_a_limit_the_machine_is_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    machine = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1024 * MIB // 4096}
    monkeypatch.setattr("os.sysconf", lambda name: machine[name])
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert Limits.of_this_container(tmp_path).memory_bytes == 576 * MIB
