"""How soon a moved alias is what answers, on the cluster of KUBECONFIG, while a client asks without pause: `make bench`.

    alias to last old answer   from the edit of the alias to the last answer of the version before
    alias to all pods          from the edit until every pod of the service serves the new version
    ratio to Kubernetes        of that to what a restart of the same Deployment by Kubernetes alone takes, in the same run

The first move to a version measures its engines, as no pod has served it before; the moves after it read the figures. A failed
request ends the benchmark.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cluster import Api, Object, fresh_namespace, until
from loop import WINDLASS, exported_digits, true

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from objects import dataset, inference_service, training_job
from steady_client import client_pod

PODS = 2
BODY = json.dumps({"instances": [[0] * 64]})


def main() -> int:
    """Move the alias there and back, and print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often the alias is moved there and back (default 3)")
    rounds = parser.parse_args().rounds
    with fresh_namespace() as api:
        two_versions(api)
        first = moved(api, 2)
        show("first move: last old answer", [first[0]])
        show("first move: all pods", [first[1]])
        moves = [moved(api, version) for _ in range(rounds) for version in (1, 2)]
        restarts = [restarted(api) for _ in range(rounds)]
        show("alias to last old answer", [last for last, _ in moves])
        show("alias to all pods", [every for _, every in moves])
        show("Kubernetes alone: all pods", restarts)
        ratio = statistics.median(every for _, every in moves) / statistics.median(restarts)
        print(f"{'ratio to Kubernetes':32} {ratio:8.2f}")
        report = heard(api)
        print(f"{sum(report['answers'].values())} answers, {report['failed']} requests failed")
        if report["failed"]:
            raise SystemExit("\n".join(report["failures"]))
    return 0


def two_versions(api: Api) -> None:
    """A service of version 1, version 2 beside it, and the client."""
    upload = api.service("windlass-system", "windlass-preprocess", f"v1/namespaces/{api.namespace}/raw/digits.csv")
    api.client.put(upload, content=exported_digits()).raise_for_status()
    api.create(WINDLASS, "datasets", dataset())
    api.create(WINDLASS, "trainingjobs", training_job("first", stop={"epochs": 3}))
    api.create(WINDLASS, "inferenceservices", inference_service(replicas={"min": PODS, "max": PODS}))
    until(lambda: true("Ready")(api.get(WINDLASS, "inferenceservices", "digits")) or None, "a service that is ready")
    api.create(WINDLASS, "trainingjobs", training_job("second", alias=None, stop={"epochs": 6}))
    until(lambda: true("Succeeded")(api.get(WINDLASS, "trainingjobs", "second")) or None, "a second version")
    image = api.get("apps/v1", "deployments", "digits")["spec"]["template"]["spec"]["containers"][0]["image"]
    api.create("v1", "pods", client_pod(image, "digits", BODY, 2))
    until(lambda: heard(api)["newest"], "an answer")


def moved(api: Api, version: int) -> tuple[float, float]:
    """Move the alias; seconds to the last answer of the version before, and until all pods are new."""
    generation = api.get("apps/v1", "deployments", "digits")["metadata"]["generation"]
    began = time.time()
    api.patch(WINDLASS, "models", "digits", {"spec": {"aliases": [{"name": "production", "version": version}]}})
    every = rolled_out(api, generation, began)
    until(lambda: leaving(api) == 0 or None, "the end of old pods")
    changed = heard(api)["changed"]
    return changed[str(3 - version)] - began, every


def restarted(api: Api) -> float:
    """Have Kubernetes replace the pods by itself; seconds until all are new."""
    generation = api.get("apps/v1", "deployments", "digits")["metadata"]["generation"]
    note = {"windlass.dev/bench": datetime.now(UTC).isoformat()}
    began = time.time()
    api.patch("apps/v1", "deployments", "digits", {"spec": {"template": {"metadata": {"annotations": note}}}})
    seconds = rolled_out(api, generation, began)
    until(lambda: leaving(api) == 0 or None, "the end of old pods")
    return seconds


def rolled_out(api: Api, generation: int, began: float) -> float:
    """Seconds until the Deployment is newer than that generation, and all its pods are new and ready."""

    def done() -> float | None:
        found = api.get("apps/v1", "deployments", "digits")
        status = found["status"]
        newer = found["metadata"]["generation"] > generation and status["observedGeneration"] > generation
        counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
        return time.time() if newer and counts == {PODS} else None

    return until(done, "the rollout") - began


def leaving(api: Api) -> int:
    """Pods of the service beyond those that it should have."""
    path = f"/api/v1/namespaces/{api.namespace}/pods?labelSelector=windlass.dev/inferenceservice=digits"
    items: list[Object] = api.client.get(path).raise_for_status().json()["items"]
    return len(items) - PODS


def heard(api: Api) -> Object:
    """The client's newest report."""
    command = ["kubectl", "--namespace", api.namespace, "logs", "client", "--tail=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    report: Object = json.loads(done.stdout) if done.returncode == 0 and done.stdout else {"newest": None}
    return report


def show(name: str, values: Sequence[float]) -> None:
    """One figure as median, minimum and maximum, in seconds."""
    print(f"{name:32} {statistics.median(values):8.2f}  ({min(values):.2f} to {max(values):.2f})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
