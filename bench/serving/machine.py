"""Facts about this machine, and who uses its cores: needed to say what a figure is worth. Linux alone."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# In the environment of every process of a server: its children inherit it, whatever they do to their sessions.
MARK_VARIABLE = "WINDLASS_BENCH_MARK"

_TICKS = os.sysconf("SC_CLK_TCK")
# Of the CPU: what engines choose their kernels by.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time since the machine started."""

    busy: float
    steal: float

    @classmethod
    def now(cls) -> "Cpu":
        """Of all cores."""
        user, nice, system, _idle, _waiting, irq, softirq, steal, *_ = (
            int(word) / _TICKS for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
        return cls(user + nice + system + irq + softirq, steal)


@dataclass(frozen=True)
class Usage:
    """Of all processes of one server: CPU seconds, and memory that is theirs, shared pages divided by those who share them."""

    cpu: float
    memory_bytes: int
    processes: int


def marked(mark: str) -> Iterator[int]:
    """The processes of one server."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def usage(mark: str) -> Usage:
    """What the processes of one server have used, and hold."""
    cpu, memory, processes = 0.0, 0, 0
    for pid in marked(mark):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += (int(fields[11]) + int(fields[12])) / _TICKS
            memory += _proportional_bytes(pid)
            processes += 1
    return Usage(cpu, memory, processes)


def facts() -> dict[str, object]:
    """What the figures depend on."""
    cpu = Path("/proc/cpuinfo").read_text()
    lines = dict(line.split(":", 1) for line in cpu.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(fields.get("flags", "").split())
    return {
        "cpu": fields.get("model name", platform.processor()),
        "family": f"{fields.get('cpu family')}/{fields.get('model')}",
        "flags": [flag for flag in _FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def _proportional_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
