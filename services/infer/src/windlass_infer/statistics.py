"""The figures of versions as the protocol's statistics extension has them: counts and nanoseconds since the version was loaded.

    of_version   one version in one process
    merged       the same version in several processes, added up

Pure. Names are those of the extension: `compute_input` is joining the rows of a batch, `compute_output` cutting it up again.
"""

from collections.abc import Iterable
from typing import Any

from windlass_core.histograms import Histogram
from windlass_infer.lanes.cache import HIT, MISS, SHARED
from windlass_infer.metrics import BatchStatistics, Duration, Measurements

Document = dict[str, Any]


def of_version(measured: Measurements) -> Document:
    """The statistics of one version."""
    executions = measured.batch_rows.count
    found = [measured.cache[result] for result in (HIT, SHARED) if result in measured.cache]
    return {
        "name": measured.version.name,
        "version": str(measured.version.number),
        "last_inference": int(measured.last_inference * 1000),
        "inference_count": measured.rows,
        "execution_count": executions,
        "inference_stats": {
            "success": _observed(measured.request_seconds),
            "fail": _duration([measured.failed]),
            "queue": _observed(measured.queue_seconds),
            "compute_input": _duration(batch.join for batch in measured.batches.values()),
            "compute_infer": _duration(batch.run for batch in measured.batches.values()),
            "compute_output": _duration(batch.split for batch in measured.batches.values()),
            "cache_hit": _duration(found),
            "cache_miss": _duration([measured.cache[MISS]] if MISS in measured.cache else []),
        },
        "batch_stats": [_batch(rows, batch) for rows, batch in sorted(measured.batches.items())],
        "memory_usage": [],
        "response_stats": {},
    }


def merged(processes: Iterable[list[Document]]) -> list[Document]:
    """The statistics of all processes, by name and version."""
    together: dict[tuple[str, str], Document] = {}
    for documents in processes:
        for document in documents:
            key = (document["name"], document["version"])
            together[key] = _added(together[key], document) if key in together else document
    return list(together.values())


def _added(one: Document, other: Document) -> Document:
    batches = {batch["batch_size"]: batch for batch in one["batch_stats"]}
    for batch in other["batch_stats"]:
        size = batch["batch_size"]
        batches[size] = {**_sums(batches[size], batch), "batch_size": size} if size in batches else batch
    return {
        **one,
        "last_inference": max(one["last_inference"], other["last_inference"]),
        "inference_count": one["inference_count"] + other["inference_count"],
        "execution_count": one["execution_count"] + other["execution_count"],
        "inference_stats": _sums(one["inference_stats"], other["inference_stats"]),
        "batch_stats": [batches[size] for size in sorted(batches)],
    }


def _sums(one: Document, other: Document) -> Document:
    """Durations added up by name."""
    return {
        name: {"count": value["count"] + other[name]["count"], "ns": value["ns"] + other[name]["ns"]}
        for name, value in one.items()
        if isinstance(value, dict)
    }


def _batch(rows: int, batch: BatchStatistics) -> Document:
    return {
        "batch_size": rows,
        "compute_input": _duration([batch.join]),
        "compute_infer": _duration([batch.run]),
        "compute_output": _duration([batch.split]),
    }


def _observed(histogram: Histogram) -> Document:
    return {"count": histogram.count, "ns": int(histogram.sum * 1e9)}


def _duration(durations: Iterable[Duration]) -> Document:
    total = Duration()
    for duration in durations:
        total.add(duration.seconds, duration.count)
    return {"count": total.count, "ns": int(total.seconds * 1e9)}
