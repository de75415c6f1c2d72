"""Statistics of one version in several processes: counts and times added up, the last inference the latest of all."""

from typing import Any

import pytest

from windlass_infer.lanes.cache import HIT, MISS, SHARED
from windlass_infer.metrics import BatchStatistics, Duration, Measurements
from windlass_infer.predictor import ServedVersion
from windlass_infer.statistics import merged, of_version

STATISTICS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


def measured(number: int = 1, name: str = "net", *, batches: dict[int, int] | None = None, last: float = 0.0) -> Measurements:
    """Figures of a version whose batches of these sizes ran so often, each a second long."""
    figures = Measurements(ServedVersion(name, number, "sha256:00", "net"), "held", "held", lambda: (0.0, 0.0))
    for rows, runs in (batches or {}).items():
        batch = figures.batches[rows] = BatchStatistics()
        for _ in range(runs):
            batch.join.add(0.25)
            batch.run.add(1.0)
            batch.split.add(0.5)
            figures.batch_rows.observe(rows)
            figures.queue_seconds.observe(2.0)
            figures.request_seconds.observe(4.0)
            figures.rows += rows
    figures.failed.add(0.125, 3)
    figures.cache.update({HIT: Duration(2, 1.0), SHARED: Duration(1, 0.5), MISS: Duration(4, 2.0)})
    figures.last_inference = last
    return figures


def total(document: dict[str, Any], name: str) -> tuple[int, int]:
    duration = document["inference_stats"][name]
    return duration["count"], duration["ns"]


def test_a_version_in_two_processes_is_one_version_with_the_sum_of_both() -> None:
    processes = [measured(batches={1: 2, 8: 1}, last=5.0), measured(batches={1: 1, 4: 2}, last=7.0)]
    [one] = merged([[of_version(figures)] for figures in processes])
    assert (one["name"], one["version"], one["last_inference"]) == ("net", "1", 7000)
    assert (one["inference_count"], one["execution_count"]) == (2 + 8 + 1 + 8, 6)
    sizes = [(batch["batch_size"], batch["compute_infer"]) for batch in one["batch_stats"]]
    second = 10**9
    assert sizes == [
        (1, {"count": 3, "ns": 3 * second}),
        (4, {"count": 2, "ns": 2 * second}),
        (8, {"count": 1, "ns": second}),
    ]
    assert {name: total(one, name) for name in STATISTICS} == {
        "success": (6, 24 * second),
        "fail": (6, second // 4),
        "queue": (6, 12 * second),
        "compute_input": (6, 6 * second // 4),
        "compute_infer": (6, 6 * second),
        "compute_output": (6, 6 * second // 2),
        "cache_hit": (6, 3 * second),
        "cache_miss": (8, 4 * second),
    }


def test_merging_does_not_depend_on_the_order_of_processes_nor_on_how_they_are_grouped() -> None:
    first, second, third = ([of_version(measured(batches={rows: rows}, last=rows))] for rows in (1, 2, 3))
    assert merged([first, second, third]) == merged([third, first, second]) == merged([merged([first, second]), third])


def test_other_versions_and_other_models_stay_apart_also_where_only_one_process_has_them() -> None:
    one, two, other = (of_version(figures) for figures in (measured(1), measured(2), measured(1, "other")))
    found = merged([[one, two], [one, other]])
    assert [(document["name"], document["version"]) for document in found] == [("net", "1"), ("net", "2"), ("other", "1")]
    assert [total(document, "fail")[0] for document in found] == [6, 3, 3]


@pytest.mark.parametrize("processes", [[], [[]], [[], []]], ids=["no process", "a process without", "processes without"])
def test_of_nothing_comes_nothing(processes: list[list[dict[str, Any]]]) -> None:
    assert merged(processes) == []
