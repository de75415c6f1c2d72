"""What controllers and kubelets do with the operator's children, step by step, on a FakeCluster. Knows no operator code but the
names of kinds.

Each step moves every object on by one state, so that a test can look between any two.
"""

from typing import Any

import builders
from fake_cluster import CREATED, FakeCluster

from windlass_operator.api import DEPLOYMENT, JOB, POD, Manifest


class World:
    """Runs pods the way a test wants.

    Args:
        dataset_version: the version that preparations make.
        model_version: the version that runs make.
    """

    def __init__(self, cluster: FakeCluster, *, dataset_version: int = 1, model_version: int = 1) -> None:
        self._cluster = cluster
        self._dataset_version = dataset_version
        self._model_version = model_version
        self._pods = 0

    def step(self) -> None:
        """Every Job and Deployment, and each of their pods, one state further."""
        for pod in self._cluster.of_kind(POD):
            self._advance_pod(pod)
        for job in self._cluster.of_kind(JOB):
            self._advance_job(job)
        for deployment in self._cluster.of_kind(DEPLOYMENT):
            self._advance_deployment(deployment)

    def _advance_job(self, job: Manifest) -> None:
        pods = self._pods_of(job["metadata"]["uid"])
        wanted = job["spec"].get("completions", 1)
        for index in range(wanted):
            if not any(self._index(pod) == index for pod in pods):
                self._make_pod(job, index=index)
        if pods and all(pod["status"]["phase"] == "Succeeded" for pod in pods) and "conditions" not in job.get("status", {}):
            self._set_status(job, {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": wanted})

    def _advance_deployment(self, deployment: Manifest) -> None:
        if "replicas" not in deployment["spec"]:
            deployment["spec"]["replicas"] = 1
            self._cluster.put(deployment)
        revision = deployment["spec"]["template"]["metadata"]["labels"]["windlass.dev/revision"]
        pods = self._pods_of(deployment["metadata"]["uid"])
        current = [pod for pod in pods if pod["metadata"]["labels"]["windlass.dev/revision"] == revision]
        for _ in range(deployment["spec"]["replicas"] - len(current)):
            self._make_pod(deployment)
        ready = [pod for pod in current if is_ready(pod)]
        if len(ready) >= deployment["spec"]["replicas"]:
            for old in (pod for pod in pods if pod not in current):
                self._cluster.drop(POD, old["metadata"]["namespace"], old["metadata"]["name"])

    def _advance_pod(self, pod: Manifest) -> None:
        serves = "windlass.dev/inferenceservice" in pod["metadata"]["labels"]
        phase = pod["status"]["phase"]
        if phase == "Pending":
            self._set_status(pod, builders.running(ready=serves))
        elif phase == "Running" and not serves:
            self._set_status(pod, builders.ended(0, self._result(pod), reason="Completed"))

    def _result(self, pod: Manifest) -> str:
        labels = pod["metadata"]["labels"]
        if "windlass.dev/dataset" in labels:
            return builders.dataset_result(self._dataset_version, labels["windlass.dev/dataset"])
        return builders.model_result(self._model_version).to_termination_message()

    def _make_pod(self, owner: Manifest, *, index: int = 0) -> None:
        self._pods += 1
        template = owner["spec"]["template"]["metadata"]
        job = owner["kind"] == "Job"
        name = f"{owner['metadata']['name']}-{index}-{self._pods:04d}"
        pod = builders.pod(
            name, owner_uid=owner["metadata"]["uid"], labels=template["labels"], index=index, job=job, created=CREATED
        )
        pod["metadata"]["namespace"] = owner["metadata"]["namespace"]
        self._cluster.put(pod)

    def _pods_of(self, uid: str) -> list[Manifest]:
        return [pod for pod in self._cluster.of_kind(POD) if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _index(self, pod: Manifest) -> int:
        return int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])

    def _set_status(self, item: Manifest, status: dict[str, Any]) -> None:
        self._cluster.put({**item, "status": status})


def is_ready(pod: Manifest) -> bool:
    """Whether a pod's Ready condition is true."""
    conditions = pod["status"].get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
