"""The command line: what a pod says before it has begun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from children import free_port
from training_runs import training_run

from windlass_core.contracts import RunResult, VersionReference
from windlass_train.pod import Pod

pytestmark = pytest.mark.timeout(120)

DATASET = VersionReference(name="digits", version=1, uri="store://datasets/digits/1", digest="sha256:0")


def run_pod(folder: Path, **environment: str) -> tuple[int, RunResult | None, str]:
    """The exit code, the termination message and the output of `windlass-train run`."""
    message = folder / "termination"
    message.touch()
    settings = {
        "WINDLASS_STORE_URL": f"file://{folder}/store",
        "WINDLASS_TERMINATION_LOG": str(message),
        "WINDLASS_RUN_PORT": str(free_port()),
        "WINDLASS_RENDEZVOUS_PORT": str(free_port()),
        "POD_IP": "127.0.0.1",
    }
    command = [sys.executable, "-m", "windlass_train", "run"]
    errors = folder / "stderr"  # a file: the server that workers are forked from would hold a pipe open for seconds
    with errors.open("w") as file:
        done = subprocess.run(command, env={**os.environ, **settings, **environment}, stderr=file, timeout=100, check=False)
    text = message.read_text()
    return done.returncode, RunResult.model_validate_json(text) if text else None, errors.read_text()


def test_a_run_without_a_spec_ends_as_bad_configuration(tmp_path: Path) -> None:
    code, result, _ = run_pod(tmp_path)
    assert code == 40
    assert result is not None
    assert "WINDLASS_RUN_SPEC is not set" in result.message


def test_a_run_of_another_kind_ends_as_bad_configuration(tmp_path: Path) -> None:
    spec = {"kind": "preprocess", "namespace": "default", "name": "digits", "spec": {"source": {"uri": "store://raw/x.csv"}}}
    code, result, _ = run_pod(tmp_path, WINDLASS_RUN_SPEC=json.dumps(spec))
    assert code == 40
    assert result is not None
    assert "runs kind train, not preprocess" in result.message


def test_a_gpu_that_is_not_there_ends_as_a_bad_device(tmp_path: Path) -> None:
    run = training_run(DATASET, resources={"gpu": {"count": 1}}, restarts={"max": 0})
    code, result, errors = run_pod(tmp_path, WINDLASS_RUN_SPEC=run.to_json_text(), CUDA_VISIBLE_DEVICES="")
    assert code == 43
    assert result is not None
    assert (result.outcome, result.reason) == ("Failed", "BadDevice")
    assert "this pod sees no working GPU" in result.message
    assert "Traceback" not in result.message
    assert all(line.startswith("{") for line in errors.splitlines())


def test_a_number_that_is_none_is_said_in_a_sentence(tmp_path: Path) -> None:
    code, _, errors = run_pod(tmp_path, WINDLASS_RUN_PORT="eighty")
    assert code == 40
    assert errors.splitlines()[0] == "WINDLASS_RUN_PORT must be a number, not 'eighty'"


def test_a_pod_in_a_cluster_needs_only_what_kubernetes_sets() -> None:
    pod = Pod.from_environment({"JOB_COMPLETION_INDEX": "3", "POD_IP": "10.0.0.7"})
    assert pod == Pod(index=3, address="10.0.0.7", rendezvous_port=29400, run_port=8080)
