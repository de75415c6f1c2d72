"""How fast the loop is on the cluster of KUBECONFIG: `make bench`.

    apply to prediction   all objects of the main example applied at once, data uploaded: seconds to the first answer
    pod to status         seconds from a training pod's Running, as the API tells it, to the TrainingJob's status saying so;
                          baseline: to the status of the Job itself, same pods, same run. Below 1 means sooner than the Job.
    operator              memory (resident) after it all

Each figure is the median over the rounds, with minimum and maximum beside it. The machine's other load moves the seconds;
the ratio is of the same events and moves little.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster import Api, Object, Watch, fresh_namespace, until

ROOT = Path(__file__).resolve().parents[1]
WINDLASS = "windlass.dev/v1alpha1"
PLURALS = {"Dataset": "datasets", "TrainingJob": "trainingjobs", "InferenceService": "inferenceservices"}


def main() -> int:
    """Run the rounds and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often the example is run (default 3)")
    rounds = parser.parse_args().rounds
    data = exported_digits()
    measured: list[dict[str, float]] = []
    for number in range(1, rounds + 1):
        measured.append(one_round(data))
        print(f"round {number} of {rounds}: {measured[-1]['apply to prediction']:.1f} s to the first prediction", flush=True)
    for name in measured[0]:
        show(name, [entry[name] for entry in measured])
    print(f"operator: {operator_megabytes():.0f} MiB resident")
    return 0


def exported_digits() -> bytes:
    """The example's data, by its own script."""
    path = ROOT / "bench" / "digits.csv"
    try:
        subprocess.run([sys.executable, str(ROOT / "examples" / "export_digits.py"), str(path)], check=True, timeout=60)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def one_round(data: bytes) -> dict[str, float]:
    """Seconds of one run of the example in a namespace of its own."""
    with fresh_namespace() as api:
        upload = api.service("windlass-system", "windlass-preprocess", f"v1/namespaces/{api.namespace}/raw/digits.csv")
        api.client.put(upload, content=data).raise_for_status()
        watches = {name: api.watch(WINDLASS, name) for name in PLURALS.values()}
        pods, jobs = api.watch("v1", "pods"), api.watch("batch/v1", "jobs")
        began = time.monotonic()
        for item in yaml.safe_load_all((ROOT / "examples" / "digits.yaml").read_text()):
            api.create(WINDLASS, PLURALS[item["kind"]], item)
        predicted = until(lambda: answer(api), "a prediction")
        seconds = {
            "apply to prediction": predicted - began,
            "apply to Dataset ready": at(watches["datasets"], true("Ready")) - began,
            "apply to TrainingJob succeeded": at(watches["trainingjobs"], true("Succeeded")) - began,
        }
        running = at_all_running(pods)
        ours = at(watches["trainingjobs"], lambda item: item.get("status", {}).get("workers", {}).get("ready") == 2) - running
        job = at(jobs, lambda item: train(item) and item.get("status", {}).get("ready") == 2) - running
        return seconds | {"pod to status: TrainingJob": ours, "pod to status: Job itself": job, "ratio to the Job": ours / job}


def answer(api: Api) -> float | None:
    """Time of an answer of the service, or None if there is none yet."""
    path = api.service(api.namespace, "digits", "v1/models/digits:predict")
    try:
        reply = api.client.post(path, json={"instances": [[0] * 64]})
    except httpx.HTTPError:
        return None
    return time.monotonic() if reply.status_code == httpx.codes.OK else None


def at(watch: Watch, test: Callable[[Object], Any]) -> float:
    """Time of the first event that passes the test."""
    return until(lambda: watch.first(test), watch.path)


def at_all_running(pods: Watch) -> float:
    """Time at which the last of the two training pods was seen running."""
    return max(at(pods, worker_runs(index)) for index in ("0", "1"))


def worker_runs(index: str) -> Callable[[Object], bool]:
    """Test for the training pod of an index, with its container running and ready."""

    def test(pod: Object) -> bool:
        labels = pod["metadata"].get("labels", {})
        statuses = pod["status"].get("containerStatuses", [])
        mine = train(pod) and labels.get("batch.kubernetes.io/job-completion-index") == index
        return mine and bool(statuses) and all(status["ready"] for status in statuses)

    return test


def train(item: Object) -> bool:
    """Whether an object belongs to a TrainingJob."""
    return "windlass.dev/trainingjob" in item["metadata"].get("labels", {})


def true(condition: str) -> Callable[[Object], bool]:
    """Test for a condition."""

    def test(item: Object) -> bool:
        entries = item.get("status", {}).get("conditions", [])
        return any(entry["type"] == condition and entry["status"] == "True" for entry in entries)

    return test


def operator_megabytes() -> float:
    """Resident memory of the operator, by its own metrics."""
    with fresh_namespace() as api:
        pods = api.client.get("/api/v1/namespaces/windlass-system/pods?labelSelector=app.kubernetes.io/name=windlass-operator")
        name = pods.raise_for_status().json()["items"][0]["metadata"]["name"]
        metrics = api.client.get(f"/api/v1/namespaces/windlass-system/pods/{name}:8080/proxy/metrics").raise_for_status().text
    line = next(line for line in metrics.splitlines() if line.startswith("process_resident_memory_bytes "))
    return float(line.split()[1]) / 2**20


def show(name: str, values: Sequence[float]) -> None:
    """One figure as median, minimum and maximum."""
    print(f"{name:32} {statistics.median(values):8.3f}  ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    sys.exit(main())
