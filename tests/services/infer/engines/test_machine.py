"""What a machine offers is read from the kernel's own words."""

import pytest

from windlass_infer.engines.machine import Machine, installed, parse_cpu

XEON = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("text", "name", "flags"),
    [
        (XEON, "Xeon", {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile", "amx_int8"}),
        (ARM, "0xd0c", set()),
        ("", "", set()),
    ],
    ids=["the first of two CPUs of Intel", "an ARM, which has no such flags", "no file at all"],
)
def test_the_kind_of_a_cpu_is_its_name_and_its_flags(text: str, name: str, flags: set[str]) -> None:
    cpu, found = parse_cpu(text)
    assert name in cpu
    assert found == flags


def test_two_cpus_of_one_name_with_other_flags_are_of_two_kinds() -> None:
    kinds = {Machine("EPYC", frozenset(flags), gpu=False, libraries={}).kind for flags in ({"avx2"}, {"avx2", "avx512f"})}
    assert len(kinds) == 2


def test_only_what_is_installed_has_a_version() -> None:
    found = installed(["onnxruntime", "no_such_library"])
    assert list(found) == ["onnxruntime"]
    assert found["onnxruntime"][0].isdigit()
