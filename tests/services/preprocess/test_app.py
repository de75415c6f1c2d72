import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import httpx
import pytest
from children import free_port
from dataset_bench import DatasetBench
from waiting import until

from windlass_core.contracts import RUN_SPEC_VARIABLE, TERMINATION_LOG_VARIABLE, PreprocessRun
from windlass_core.serving import BackgroundServer
from windlass_core.store import Store
from windlass_preprocess.app import create

LOOPBACK = "127.0.0.1"
RAW = "raw"  # below the namespace, as are the others
DATASETS = "datasets"
CSV = "x,when,y\n" + "".join(f"{number},2026-01-{1 + number % 28:02},{'ab'[number % 2]}\n" for number in range(40))


@pytest.fixture
def prepared(client: httpx.Client, store: Store) -> httpx.Client:
    """A client of a store with two versions of the Dataset `data`."""
    bench = DatasetBench(store)
    uri = bench.upload("data.csv", CSV)
    bench.run(uri, label="y", split={"validation": 0.1, "test": 0.1})
    bench.run(uri, label="y", split={"validation": 0.1, "test": 0.2})
    return client


def test_raw_files_are_listed_page_by_page_in_order(client: httpx.Client) -> None:
    for path in ("b/2.csv", "a.csv", "b/1.csv", "b/10.csv", "c.csv"):
        client.put(f"{RAW}/{path}", content=path.encode())
    client.put("../other/raw/z.csv", content=b"of another namespace")

    def listed(query: str) -> tuple[list[str], str | None]:
        page = client.get(f"{RAW}?{query}").json()
        return [file["path"] for file in page["files"]], page["next"]

    assert listed("") == (["a.csv", "b/1.csv", "b/10.csv", "b/2.csv", "c.csv"], None)
    assert listed("limit=2") == (["a.csv", "b/1.csv"], "b/1.csv")
    assert listed("limit=2&after=b/1.csv") == (["b/10.csv", "b/2.csv"], "b/2.csv")
    assert listed("limit=2&after=b/2.csv") == (["c.csv"], None)
    assert listed("prefix=b/1") == (["b/1.csv", "b/10.csv"], None)
    assert listed("prefix=nothing/") == ([], None)
    first = client.get(RAW).json()["files"][0]
    assert (first["uri"], first["bytes"]) == ("store://raw/a.csv", 5)


def test_a_raw_file_is_downloaded_described_and_deleted(client: httpx.Client) -> None:
    data = os.urandom(9_000_000)
    client.put(f"{RAW}/a b/ü.bin", content=data)
    assert client.get(f"{RAW}/a b/ü.bin").content == data
    described = client.head(f"{RAW}/a b/ü.bin")
    assert (described.headers["content-length"], described.content) == ("9000000", b"")
    assert client.delete(f"{RAW}/a b/ü.bin").status_code == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert client.request(method, f"{RAW}/a b/ü.bin").status_code == 404


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "x" * 64, "a.b"])
def test_a_namespace_that_is_none_is_400(api: str, name: str) -> None:
    for url in (f"/v1/namespaces/{name}/raw", f"/v1/namespaces/{name}/datasets"):
        response = httpx.get(f"{api}{url}", timeout=10)
        assert response.status_code == 400
        assert response.headers["content-type"] == "application/problem+json"


def test_datasets_and_their_versions_are_listed_newest_first(prepared: httpx.Client) -> None:
    assert prepared.get(DATASETS).json() == {"datasets": ["data"]}
    versions = prepared.get(f"{DATASETS}/data/versions").json()["versions"]
    assert [(one["version"], one["rows"], one["task"]) for one in versions] == [
        (2, 40, "classification"),
        (1, 40, "classification"),
    ]
    assert versions[0]["uri"] == "store://datasets/data/2"
    assert versions[0]["digest"].startswith("sha256:")


def test_a_version_tells_its_manifest_profile_and_first_rows(prepared: httpx.Client) -> None:
    one = f"{DATASETS}/data/versions/1"
    manifest = prepared.get(one).json()
    assert (manifest["kind"], manifest["dataset"]["label"], manifest["dataset"]["classes"]) == ("datasets", "y", ["a", "b"])
    profile = prepared.get(f"{one}/profile").json()
    assert [column["name"] for column in profile["columns"]] == ["x", "when", "y"]
    assert profile["columns"][0]["histogram"][0]["from"] == 0
    rows = prepared.get(f"{one}/preview").json()["rows"]
    assert len(rows) == 10
    assert rows[0].keys() == {"x", "when", "y"}
    assert rows[0]["when"].startswith("2026-01-")
    assert len(prepared.get(f"{one}/preview?split=test&rows=100").json()["rows"]) == 4


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        pytest.param("none/versions", 404, "Dataset none has no version in namespace test-", id="a Dataset that is not there"),
        pytest.param("data/versions/3", 404, "nothing is at store://datasets/data/3", id="a version that is not there"),
        pytest.param("data/versions/3/profile", 404, "nothing is at", id="its profile"),
        pytest.param("data/versions/0", 400, "greater than or equal to 1", id="version 0"),
        pytest.param("data/versions/x", 400, "valid integer", id="no number"),
        pytest.param("..%2Fraw/versions", 404, "Not Found", id="a way out"),
        pytest.param("data/versions/1/preview?rows=101", 400, "less than or equal to 100", id="too many rows"),
        pytest.param("data/versions/1/preview?split=all", 400, "'train', 'validation' or 'test'", id="no split"),
    ],
)
def test_what_is_not_there_is_a_problem(prepared: httpx.Client, path: str, status: int, sentence: str) -> None:
    response = prepared.get(f"{DATASETS}/{path}")
    assert response.status_code == status
    assert sentence in response.json()["detail"]


def test_a_damaged_version_is_not_shown(prepared: httpx.Client, store: Store) -> None:
    (profile,) = (entry.path for entry in store.list("datasets/data/1") if entry.path.endswith("profile.json"))
    store.write(profile, b'{"rows": 1, "columns": []}')
    response = prepared.get(f"{DATASETS}/data/versions/1/profile")
    assert (response.status_code, response.json()["reason"]) == (500, "DigestMismatch")


def test_the_api_describes_itself(api: str) -> None:
    described = httpx.get(f"{api}/openapi.json", timeout=10).json()
    assert {
        "/v1/namespaces/{namespace}/raw",
        "/v1/namespaces/{namespace}/raw/{path}",
        "/v1/namespaces/{namespace}/datasets",
        "/v1/namespaces/{namespace}/datasets/{name}/versions",
        "/v1/namespaces/{namespace}/datasets/{name}/versions/{version}",
        "/v1/namespaces/{namespace}/datasets/{name}/versions/{version}/profile",
        "/v1/namespaces/{namespace}/datasets/{name}/versions/{version}/preview",
    } <= described["paths"].keys()


wait_until = partial(until, seconds=30)


def test_it_is_ready_once_the_store_answers(api: str) -> None:
    wait_until(lambda: httpx.get(f"{api}/readyz", timeout=10).status_code == 200, "ready")


def test_it_is_not_ready_and_says_why_without_a_store() -> None:
    with BackgroundServer(create({}), 0, host=LOOPBACK) as server:
        url = f"http://{LOOPBACK}:{server.port}"
        wait_until(lambda: "WINDLASS_STORE_URL is ''" in httpx.get(f"{url}/readyz", timeout=5).json()["detail"], "a reason")
        assert httpx.get(f"{url}/readyz", timeout=5).status_code == 503
        assert httpx.get(f"{url}/healthz", timeout=5).status_code == 200
        assert httpx.get(f"{url}/v1/namespaces/default/raw", timeout=5).json()["reason"] == "BadConfiguration"


def test_a_taken_port_is_told_in_a_sentence() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "windlass_preprocess", "serve", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"].startswith(f"port {port} cannot be listened on: Address already in use")


def run_pod(environment: dict[str, str], spec: PreprocessRun, message: Path) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment, RUN_SPEC_VARIABLE: spec.to_json_text(), TERMINATION_LOG_VARIABLE: str(message)}
    command = [sys.executable, "-m", "windlass_preprocess", "run", "--port", "0"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("label", "code", "outcome", "reason"),
    [
        pytest.param("y", 0, "Succeeded", "Prepared", id="it ends with 0 and its version"),
        pytest.param("z", 41, "Failed", "LabelNotFound", id="bad data ends with 41 and the reason"),
    ],
)
def test_a_run_pod(tmp_path: Path, label: str, code: int, outcome: str, reason: str) -> None:
    environment = {"WINDLASS_STORE_URL": f"file://{tmp_path}"}
    Store.open("default", environment).write("raw/data.csv", CSV.encode())
    spec = PreprocessRun.model_validate(
        {"namespace": "default", "name": "data", "spec": {"source": {"uri": "store://raw/data.csv"}, "label": label}}
    )
    done = run_pod(environment, spec, tmp_path / "message")
    assert done.returncode == code, done.stderr
    result = json.loads((tmp_path / "message").read_text())
    assert (result["outcome"], result["reason"]) == (outcome, reason)
    assert all(json.loads(line)["service"] == "preprocess" for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr


def test_sigterm_ends_a_run_that_waits_with_44(tmp_path: Path) -> None:
    port = free_port()
    spec = PreprocessRun.model_validate(
        {"namespace": "default", "name": "data", "spec": {"source": {"uri": "store://raw/none.csv"}}}
    )
    variables = {
        **os.environ,
        "WINDLASS_STORE_URL": f"file://{tmp_path}",
        RUN_SPEC_VARIABLE: spec.to_json_text(),
        TERMINATION_LOG_VARIABLE: str(tmp_path / "message"),
    }
    command = [sys.executable, "-m", "windlass_preprocess", "run", "--port", str(port)]
    with subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL) as process:
        timer = threading.Timer(50, process.kill)
        timer.start()

        def waits() -> bool:
            try:
                progress = httpx.get(f"http://{LOOPBACK}:{port}/progress", timeout=5).json()
            except httpx.TransportError:
                return False
            return bool(progress["phase"] == "WaitingForSource" and "upload it" in progress["message"])

        wait_until(waits, "it waits for its source")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 44
        timer.cancel()
    assert json.loads((tmp_path / "message").read_text())["outcome"] == "Stopped"
