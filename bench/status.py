"""How soon the status of an object tells what became of its pod, by an idle operator: `make bench`.

The pods here are played: they ask for more than any node has, so that nobody runs them, and this program writes their status
as a kubelet would. A transition counts from the moment that write is sent until a watch brings the object whose status says so.

    running     a training worker runs; the TrainingJob says so
    failed      its program raised an error; the TrainingJob has failed
    ready       the pod of a service becomes ready; the InferenceService says so
    unready     and no longer
    floor       the same path with nothing in between: a watcher writes a plain object as soon as it sees the pod's event

Each line is the median and the largest of the rounds, and both as multiples of the floor's, measured by turns with them in the
same run. The figures are of an operator with nothing else to do, on whatever else the machine does. `--quiet 17` leaves it
alone for longer than HTTP clients commonly keep a connection.
"""

import argparse
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster import Api, Object, Watch, fresh_namespace, until

WINDLASS = "windlass.dev/v1alpha1"
NOBODY_RUNS_IT = {"cpu": "100000"}
LOOK_SECONDS = 0.002  # between two looks at what the watches brought; their events carry the time they came
# After each change until the next: what follows from it, the Job controller's second included, is over.
QUIET_SECONDS = 2.5


def main() -> int:
    """Run the rounds and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="transitions of each sort (default 20)")
    parser.add_argument(
        "--quiet", type=float, default=QUIET_SECONDS, help=f"seconds from a change to the next (default {QUIET_SECONDS})"
    )
    given = parser.parse_args()
    seconds: dict[str, list[float]] = defaultdict(list)
    with fresh_namespace() as api:
        stage = Stage(api)
        for number in range(given.rounds):
            for name, taken in stage.round(number):
                seconds[name].append(taken)
                time.sleep(given.quiet)
    floor = seconds["floor"]
    for name, values in seconds.items():
        print(line(name, values, floor))
    return 0


def line(name: str, values: Sequence[float], floor: Sequence[float]) -> str:
    """One figure: milliseconds, and how often the floor goes into them."""
    median, largest = statistics.median(values), max(values)
    ratios = f"{median / statistics.median(floor):4.1f} and {largest / max(floor):4.1f} times the floor"
    return f"{name:8} median {median * 1000:6.1f} ms   max {largest * 1000:6.1f} ms   {ratios}   ({len(values)} transitions)"


class Stage:
    """The objects of the measurement in one namespace."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._pods = api.watch("v1", "pods")
        self._jobs = api.watch(WINDLASS, "trainingjobs")
        self._services = api.watch(WINDLASS, "inferenceservices")
        self._maps = api.watch("v1", "configmaps")
        self._prepare_floor()
        self._prepare_data()
        self._prepare_service()

    def round(self, number: int) -> Iterator[tuple[str, float]]:
        """One transition of each sort: its name and seconds."""
        yield "floor", self._floor(number)
        run = f"run-{number}"
        job = {"dataset": {"name": "data", "version": 1}, "model": {"name": "model", "recipe": "mlp"}, "workers": 1}
        self._api.create(WINDLASS, "trainingjobs", windlass("TrainingJob", run, {**job, "resources": NOBODY_RUNS_IT}))
        worker = self._pod_of("trainingjob", run)
        time.sleep(QUIET_SECONDS)  # until the operator has told of the pod that nobody runs
        yield "running", self._play(worker, running(ready=True), self._jobs, run, workers_run(1))
        yield "failed", self._play(worker, failed(), self._jobs, run, condition("Succeeded", "False"))
        yield "ready", self._play(self._server, running(ready=True), self._services, "service", condition("Ready", "True"))
        yield "unready", self._play(self._server, running(ready=False), self._services, "service", condition("Ready", "False"))

    def _prepare_floor(self) -> None:
        self._api.create("v1", "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "floor"}})
        container = {"name": "c", "image": "none", "resources": {"requests": NOBODY_RUNS_IT}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "floor"}, "spec": {"containers": [container]}}
        self._api.create("v1", "pods", pod)
        threading.Thread(target=self._answer_floor, daemon=True).start()

    def _answer_floor(self) -> None:
        """Write what the pod's status says into the object as often as it says something new."""
        told = None
        for pod in self._api.events("v1", "pods"):
            says = pod["status"].get("message")
            if pod["metadata"]["name"] == "floor" and says != told:
                told = says
                self._api.patch("v1", "configmaps", "floor", {"data": {"told": says}})

    def _floor(self, number: int) -> float:
        began = time.monotonic()
        self._api.patch("v1", "pods", "floor", {"status": {"message": f"change {number}"}}, "status")
        return at(self._maps, "floor", lambda item: item.get("data", {}).get("told") == f"change {number}") - began

    def _prepare_data(self) -> None:
        """A Dataset with a version, whose preparation nobody runs."""
        spec = {"source": {"uri": "store://raw/none.csv"}, "label": "label", "resources": NOBODY_RUNS_IT}
        self._api.create(WINDLASS, "datasets", windlass("Dataset", "data", spec))
        self._pod_of("dataset", "data")
        self._write_status("datasets", "data", {"versions": [{"version": 1, "digest": "sha256:none"}]})

    def _prepare_service(self) -> None:
        """A service of a model that is not in the store, as far as it gets without its pod."""
        self._api.create(WINDLASS, "models", windlass("Model", "model", {"aliases": [{"name": "production", "version": 1}]}))
        self._write_status("models", "model", {"versions": [MODEL_VERSION]})
        spec = {"model": {"name": "model", "alias": "production"}, "resources": NOBODY_RUNS_IT}
        self._api.create(WINDLASS, "inferenceservices", windlass("InferenceService", "service", spec))
        self._server = self._pod_of("inferenceservice", "service")

    def _write_status(self, plural: str, name: str, status: Object) -> None:
        self._api.patch(WINDLASS, plural, name, {"status": status}, "status")

    def _pod_of(self, kind: str, name: str) -> str:
        """Name of the pod of one of our objects, when there is one."""
        label = f"windlass.dev/{kind}"

        def look() -> str | None:
            found = (pod["metadata"] for _, pod in list(self._pods.events))
            return next((pod["name"] for pod in found if pod.get("labels", {}).get(label) == name), None)

        return until(look, f"a pod of {kind} {name}")

    def _play(self, pod: str, status: Object, watch: Watch, name: str, told: Callable[[Object], bool]) -> float:
        """Seconds from the pod's new status to the object that tells of it."""
        began = time.monotonic()
        self._api.patch("v1", "pods", pod, {"status": status}, "status")
        return at(watch, name, told, since=began) - began


MODEL_VERSION = {
    "version": 1,
    "uri": "store://models/model/1",
    "digest": "sha256:none",
    "bytes": 1,
    "formats": ["onnx"],
    "metrics": {},
    "job": "none",
    "jobUid": "none",
    "dataset": "data",
    "datasetVersion": 1,
    "createdAt": "2026-01-01T00:00:00Z",
}


def windlass(kind: str, name: str, spec: Object) -> Object:
    """One of our objects."""
    return {"apiVersion": WINDLASS, "kind": kind, "metadata": {"name": name}, "spec": spec}


def running(*, ready: bool) -> Object:
    """The status of a pod whose container runs. It has no address, so nobody asks it for progress."""
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [container({"running": {}}, ready=ready)],
    }


def failed() -> Object:
    """The status of a pod whose program raised an error."""
    return {
        "phase": "Failed",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [container({"terminated": {"exitCode": 42, "message": "It raised."}}, ready=False)],
    }


def container(state: Object, *, ready: bool) -> Object:
    """The status of a container."""
    return {"name": "played", "image": "none", "imageID": "none", "restartCount": 0, "ready": ready, "state": state}


def condition(type_: str, status: str) -> Callable[[Object], bool]:
    """Test for a condition."""

    def test(item: Object) -> bool:
        conditions = item.get("status", {}).get("conditions", [])
        return any((one["type"], one["status"]) == (type_, status) for one in conditions)

    return test


def workers_run(count: int) -> Callable[[Object], bool]:
    """Test for the number of workers that run."""
    return lambda item: item.get("status", {}).get("workers", {}).get("ready") == count


def at(watch: Watch, name: str, test: Callable[[Object], Any], *, since: float = 0.0) -> float:
    """Time of the first event since then that passes the test."""

    def look() -> float | None:
        events = list(watch.events)
        return next((when for when, item in events if when >= since and item["metadata"]["name"] == name and test(item)), None)

    return until(look, f"the status of {name}", LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
