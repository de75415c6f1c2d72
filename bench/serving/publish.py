"""Publishes the workloads as Model versions to a folder store, as any torch module can be published."""

import json
from pathlib import Path

import torch

from serving.workloads import WORKLOADS
from windlass_core.store import Store
from windlass_train.tensor_version import publish_tensor_version

NAMESPACE = "bench"


def publish(store: Path, workloads: list[str]) -> dict[str, dict[str, object]]:
    """Reference of the version of each workload, as the serving spec has it."""
    opened = Store.open(NAMESPACE, {"WINDLASS_STORE_URL": f"file://{store}"})
    references: dict[str, dict[str, object]] = {}
    for name in workloads:
        workload = WORKLOADS[name]
        inputs = {"inputs": torch.from_numpy(workload.questions()[:8])}
        version = publish_tensor_version(opened, name, workload.module(), inputs, ["outputs"], owner="bench")
        references[name] = json.loads(version.reference.model_dump_json())
    return references
