"""The API over runs and models: what it lists, and that it is light."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from training_runs import training_run

from windlass_core.contracts import RunResult, VersionReference
from windlass_core.manifests import ModelContent, TensorDescription
from windlass_core.registry import Registry
from windlass_core.server import BackgroundServer
from windlass_core.store import Store
from windlass_train import app as api
from windlass_train.app import create
from windlass_train.runs import MetricPoint, RunFolder

DATASET = VersionReference(name="digits", version=1, uri="store://datasets/digits/1", digest="sha256:0")
ROOT = "/v1/namespaces/default"


@pytest.fixture
def client(store: Store) -> Iterator[httpx.Client]:
    server = BackgroundServer(create(lambda _: store), 0, host="127.0.0.1")
    with server, httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client:
        yield client


def describe(store: Store, uid: str, **spec: Any) -> RunFolder:
    run = training_run(DATASET, uid=uid, **spec)
    folder = RunFolder(store, run.name, uid)
    folder.describe(run)
    return folder


def publish(store: Store, folder: Path, uid: str, accuracy: float, **spec: Any) -> int:
    run = training_run(DATASET, uid=uid, **spec)
    (folder / "weights.safetensors").write_bytes(b"weights")
    tensor = TensorDescription(name="features", shape=[-1, 64])
    content = ModelContent(
        task="classification",
        recipe=run.spec.model.recipe,
        label="y",
        inputs=[tensor],
        outputs=[tensor],
        formats={"safetensors": "weights.safetensors"},
        metrics={"accuracy": accuracy},
        parameters=650,
        step=10,
        dataset=DATASET,
        job=run.name,
        job_uid=uid,
        spec=run.spec.to_json(),
    )
    registry = Registry(store, "models")
    number = registry.claim("digits", uid)
    return registry.publish("digits", number, owner=uid, folder=folder, content=content).reference.version


def test_runs_are_listed_with_how_they_ended(client: httpx.Client, store: Store) -> None:
    assert client.get(f"{ROOT}/runs").json() == {"runs": []}
    describe(store, "first").conclude(RunResult(outcome="Failed", reason="LossDiverged", message="why"))
    describe(store, "second")
    store.write("runs/other/uid/checkpoints/step-1/model", b"a try that died before it said what it was")
    listed = client.get(f"{ROOT}/runs").json()["runs"]
    assert [run["description"]["uid"] for run in listed] == ["first", "second"]
    assert listed[1]["description"]["spec"]["model"]["recipe"] == "mlp"
    assert "result" not in listed[1]
    assert listed[0]["result"]["reason"] == "LossDiverged"
    assert client.get(f"{ROOT}/runs/train-digits/first").json() == listed[0]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_runs_come_in_pages_that_hold_each_once(limit: int, client: httpx.Client, store: Store) -> None:
    made = [(job, uid) for job in ("a", "a-b", "b") for uid in ("1", "2")]
    for job, uid in made:
        RunFolder(store, job, uid).describe(training_run(DATASET, uid=uid).model_copy(update={"name": job}))
    seen, after = [], {}
    while after is not None:
        page = client.get(f"{ROOT}/runs", params={"limit": limit, **after}).json()
        assert len(page["runs"]) <= limit
        seen += [(run["description"]["job"], run["description"]["uid"]) for run in page["runs"]]
        after = {"after": page["next"]} if "next" in page else None
    assert seen == made


def test_a_run_of_a_later_release_is_listed_and_one_that_cannot_be_read_left_out(client: httpx.Client, store: Store) -> None:
    describe(store, "later")
    text = json.loads(store.read("runs/train-digits/later/run.json"))
    text["spec"]["warp"] = text["spec"]["model"]["speed"] = 9
    store.write("runs/train-digits/later/run.json", json.dumps(text).encode())
    store.write("runs/train-digits/torn/run.json", b"{")
    (listed,) = client.get(f"{ROOT}/runs").json()["runs"]
    assert (listed["description"]["spec"]["warp"], listed["description"]["spec"]["model"]["speed"]) == (9, 9)
    alone = client.get(f"{ROOT}/runs/train-digits/torn")
    assert (alone.status_code, alone.json()["reason"]) == (422, "BadData")


def test_figures_of_a_run_come_in_pages(client: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_POINTS", 2)
    folder = describe(store, "uid")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    folder.write_points(
        [
            MetricPoint(step=step, epoch=step / 2, split="train", loss=1 / step, at=start + timedelta(seconds=step))
            for step in (1, 2, 3)
        ]
    )
    first = client.get(f"{ROOT}/runs/train-digits/uid/metrics").json()
    assert [point["step"] for point in first["points"]] == [1, 2]
    assert first["more"]
    assert first["points"][1] == {"step": 2, "epoch": 1.0, "split": "train", "loss": 0.5, "at": "2026-01-01T00:00:02Z"}
    second = client.get(f"{ROOT}/runs/train-digits/uid/metrics", params={"after": 2}).json()
    assert [point["step"] for point in second["points"]] == [3]
    assert not second["more"]


def test_a_page_of_figures_ends_between_two_steps(client: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_POINTS", 2)
    folder = describe(store, "uid")
    now = datetime.now(UTC)
    both = [(1, "train"), (2, "train"), (2, "validation"), (3, "train"), (4, "train"), (4, "validation")]
    folder.write_points([MetricPoint(step=step, epoch=1, split=split, loss=1, at=now) for step, split in both])
    seen, more = [], True
    while more:
        params = {"after": seen[-1][0] if seen else 0}
        page = client.get(f"{ROOT}/runs/train-digits/uid/metrics", params=params).json()
        seen += [(point["step"], point["split"]) for point in page["points"]]
        more = page["more"]
    assert seen == both


def test_versions_are_listed_and_compared(client: httpx.Client, store: Store, tmp_path: Path) -> None:
    publish(store, tmp_path, "a", 0.9, recipe="mlp")
    publish(store, tmp_path, "b", 0.95, recipe="mlp", parameters={"learningRate": 0.01, "hidden": [8, 4]})
    assert client.get(f"{ROOT}/models").json() == ["digits"]
    versions = client.get(f"{ROOT}/models/digits/versions").json()
    assert [version["version"]["version"] for version in versions] == [1, 2]
    assert client.get(f"{ROOT}/models/digits/versions/2").json() == versions[1]
    assert versions[1]["content"]["metrics"] == {"accuracy": 0.95}
    assert client.get(f"{ROOT}/models/digits/versions", params={"limit": 1}).json() == versions[1:]
    comparison = client.get(f"{ROOT}/models/digits/compare", params={"versions": [2, 1]}).json()
    assert comparison == {
        "versions": [2, 1],
        "metrics": [{"field": "accuracy", "values": [0.95, 0.9]}],
        "differences": [
            {"field": "spec.model.parameters.hidden", "values": [[8, 4], None]},
            {"field": "spec.model.parameters.learningRate", "values": [0.01, None]},
        ],
    }


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        pytest.param("/runs/train-digits/none", 404, "NotFound", id="a run that is not there"),
        pytest.param("/runs/train-digits/none/metrics", 404, "NotFound", id="figures of a run that is not there"),
        pytest.param("/models/digits/versions/9", 404, "NotFound", id="a version that is not there"),
        pytest.param("/models/digits/compare?versions=1&versions=2", 404, "NotFound", id="comparing what is not there"),
        pytest.param("/models/digits/compare?versions=1", 400, "BadRequest", id="comparing one version"),
        pytest.param("/models/digits/versions/zero", 400, "BadRequest", id="a version that is no number"),
        pytest.param("/runs?limit=101", 400, "BadRequest", id="a page of too many runs"),
        pytest.param("/runs?after=job", 400, "BadRequest", id="a place in the list that is none"),
        pytest.param("/models/digits/versions?limit=51", 400, "BadRequest", id="too many versions at once"),
        pytest.param("/runs/Upper/uid", 400, "BadRequest", id="a name that is none"),
        pytest.param("/runs/job/..%2F..%2Fraw", 404, "NotFound", id="a path out of the folder"),
        pytest.param("/runs/job/uid/metrics?after=-1", 400, "BadRequest", id="a step below zero"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(client: httpx.Client, path: str, status: int, reason: str) -> None:
    answer = client.get(ROOT + path)
    assert answer.status_code == status
    assert answer.json()["reason"] == reason


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "windlass_train", "serve", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"].startswith(f"port {port} cannot be listened on: Address already in use")


def test_the_api_needs_neither_torch_nor_arrow() -> None:
    code = "import sys, windlass_train.app; print(sorted({'torch', 'pyarrow', 'onnx', 'onnxruntime'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
