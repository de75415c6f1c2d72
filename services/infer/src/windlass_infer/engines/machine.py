"""What this machine offers an engine: the kind of its CPU, the instructions that matter, GPUs, and which libraries are there.

Read once, cheaply, without importing an engine's library. Knows no model.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# Made by NVIDIA's driver wherever a GPU may be used, in a container too.
NVIDIA_CONTROL = Path("/dev/nvidiactl")

# Instructions by which one program is several times faster on one CPU than on another: wide vectors, 16-bit floating point and
# 8-bit integer products, and tiles of both.
FLAGS = frozenset(
    {"avx2", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8", "amx_fp16"}
)

# Every engine runs with one thread: a process serves with one, and a pod has one process a core. With two threads in one
# process engines were slower nearly everywhere, and pools larger than a pod's share of the CPU stall.
THREADS = 1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Machine:
    """What matters of a machine to the choice of an engine.

    Attributes:
        cpu: its model, as the CPU says it.
        flags: those of FLAGS that it has.
        gpu: whether a GPU of NVIDIA is within reach.
        libraries: versions of the engines' libraries that are installed.
    """

    cpu: str
    flags: frozenset[str]
    gpu: bool
    libraries: Mapping[str, str]

    @property
    def kind(self) -> str:
        """The CPU in one line: its model and its flags, so that two of the same name but unlike virtual machines differ."""
        return " ".join([self.cpu, *sorted(self.flags)])


@cache
def this_machine() -> Machine:
    """The machine that this process runs on."""
    cpu, flags = parse_cpu(CPU_INFO.read_text() if CPU_INFO.exists() else "")
    return Machine(cpu, flags, gpu=NVIDIA_CONTROL.exists(), libraries=installed(("onnxruntime", "openvino", "torch")))


def parse_cpu(text: str) -> tuple[str, frozenset[str]]:
    """Model and flags of the first CPU in the text of /proc/cpuinfo.

    >>> parse_cpu("model name\\t: EPYC\\nflags\\t\\t: fpu avx2 sse\\n\\nmodel name\\t: other\\n")
    ('EPYC', frozenset({'avx2'}))
    """
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip() and fields:
            break
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    # An ARM's file has numbers in place of a name.
    model = fields.get("model name") or f"{os.uname().machine} {fields.get('CPU part', '')}".strip()
    return model, FLAGS & set(fields.get("flags", "").split())


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of the packages that can be imported."""
    found: dict[str, str] = {}
    for name in names:
        try:
            if find_spec(name) is not None:
                found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def limit_threads() -> None:
    """Hold OpenMP and MKL to THREADS. They read this once, so it must come before the first import of torch."""
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(THREADS)
