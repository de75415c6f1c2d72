"""The same input is the same version, byte for byte; another input is another version."""

import json

import pytest
from dataset_bench import HELD_OUT, PEOPLE, DatasetBench, numbers

from windlass_core.registry import Registry
from windlass_preprocess.limits import MIB, Limits


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


def test_a_version_that_a_later_release_made_is_read(bench: DatasetBench) -> None:
    bench.prepare_csv(PEOPLE, label="sick")
    path = "datasets/data/1/manifest.json"
    manifest = json.loads(bench.store.read(path))
    manifest["dataset"] |= {"later": 1, "spec": manifest["dataset"]["spec"] | {"later": 1}}
    bench.store.write(path, json.dumps(manifest).encode())
    content = Registry(bench.store, "datasets").open("data", 1).manifest.dataset
    assert content is not None
    assert (content.label, content.spec["later"]) == ("sick", 1)
