"""From an empty cluster to a prediction: install the chart, upload real data, apply the example, follow it, ask it.

Knows only `kubectl`, `helm` and KUBECONFIG, so it runs on any cluster; standard library only, but for the export of the data,
which runs in the environment given by --python. Everything it does is a command that a user can type, and is printed so.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "digits.yaml"
CHART = ROOT / "charts" / "windlass"
SYSTEM_NAMESPACE = "windlass-system"
NAMESPACE = "default"
API_GROUP = "windlass.dev"
PENDING_RELEASE = "owner=helm,name=windlass,status in (pending-install,pending-upgrade,pending-rollback)"
INSTALL_SECONDS = 300
PIPELINE_SECONDS = 600
POLL_SECONDS = 0.5  # between two looks at the objects; each look is one kubectl call of about 60 ms
REQUEST_SECONDS = 10
FORWARD_SECONDS = 60  # until kubectl has found a pod and listens
SAMPLES = 5  # held-out images shown at the end


class QuickstartError(Exception):
    """A step failed; the message says which and what to look at."""


def main() -> int:
    """Run all steps; 1 with a sentence when one fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="a values file that names the images to install")
    parser.add_argument("--python", default=sys.executable, help="a Python that has scikit-learn")
    arguments = parser.parse_args()
    try:
        with step("Installing the chart as release windlass in namespace windlass-system"):
            install(arguments.images)
        with step("Uploading 1,797 images of handwritten digits to store://raw/digits.csv"):
            upload_digits(arguments.python)
        with step("Training on 2 workers and rolling out what they learn (kubectl apply -f examples/digits.yaml)"):
            kubectl("apply", "-n", NAMESPACE, "-f", str(EXAMPLE))
            follow()
        show()
    except QuickstartError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing is lost: run the same command again to go on.", file=sys.stderr)
        return 130
    return 0


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f"==> {title}", flush=True)
    started = time.monotonic()
    yield
    print(f"    done in {time.monotonic() - started:.1f} s", flush=True)


def install(images: Path | None) -> None:
    """Install or upgrade the chart and wait until its pods are ready."""
    values = ["--values", str(images)] if images else []
    place = ["--namespace", SYSTEM_NAMESPACE, "--create-namespace"]
    # A helm that was killed leaves its release pending, and the next one would refuse to touch it.
    kubectl("delete", "secret", "-n", SYSTEM_NAMESPACE, "-l", PENDING_RELEASE)
    run(
        ["helm", "upgrade", "--install", "windlass", str(CHART), *place, *values, "--wait", f"--timeout={INSTALL_SECONDS}s"],
        hint=f"kubectl get pods,events -n {SYSTEM_NAMESPACE}",
        seconds=INSTALL_SECONDS + 30,
    )


def upload_digits(python: str) -> None:
    """Export the data set that scikit-learn ships, and put it into the store through the preprocess service."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.csv"
        run([python, str(ROOT / "examples" / "export_digits.py"), str(path)], hint="make up installs scikit-learn into .venv")
        with forwarded("service/windlass-preprocess", SYSTEM_NAMESPACE) as url:
            request(f"{url}/v1/namespaces/{NAMESPACE}/raw/digits.csv", method="PUT", data=path.read_bytes())


def follow() -> None:
    """Print what the three objects say whenever it changes, until the service is ready or something failed."""
    deadline = time.monotonic() + PIPELINE_SECONDS
    told: dict[str, str] = {}
    while time.monotonic() < deadline:
        found = json.loads(kubectl("get", "-n", NAMESPACE, "-f", str(EXAMPLE), "-o", "json"))
        objects = {item["kind"]: item for item in found["items"]}
        for kind, item in objects.items():
            line = describe(item)
            if line and told.get(kind) != line:
                told[kind] = line
                print(f"    {kind.lower()}/{item['metadata']['name']}: {line}", flush=True)
        job = condition(objects["TrainingJob"], "Succeeded")
        if job.get("status") == "False":
            raise QuickstartError(f"Training failed: {job.get('message')}\nLook at: kubectl describe trainingjob digits")
        if current(objects["InferenceService"], "Ready"):
            return
        time.sleep(POLL_SECONDS)
    last = "".join(f"\n  {kind.lower()}/digits: {line}" for kind, line in told.items())
    raise QuickstartError(f"Not ready after {PIPELINE_SECONDS} s:{last}\nLook at: kubectl describe -f examples/digits.yaml")


def describe(item: dict[str, Any]) -> str:
    """One line on where an object stands."""
    status = item.get("status", {})
    summary = condition(item, "Succeeded" if item["kind"] == "TrainingJob" else "Ready")
    progress = status.get("progress") or {}
    parts = [summary.get("reason", "")]
    if item["kind"] == "TrainingJob" and progress and summary.get("status") == "Unknown":
        workers = status.get("workers", {})
        parts.append(f"step {progress['step']}/{progress['steps']}")
        parts.append(f"loss {progress['loss']}" if "loss" in progress else "")
        parts.append(f"{progress['eta']} left" if "eta" in progress else "")
        parts.append(f"{workers.get('ready')}/{workers.get('total')} workers")
    elif summary.get("message"):
        parts.append(summary["message"])
    return ", ".join(part for part in parts if part)


def condition(item: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type, or an empty one."""
    return next((entry for entry in item.get("status", {}).get("conditions", []) if entry["type"] == kind), {})


def current(item: dict[str, Any], kind: str) -> bool:
    """Whether the condition is true of the spec as it stands now."""
    entry = condition(item, kind)
    return entry.get("status") == "True" and entry.get("observedGeneration") == item["metadata"]["generation"]


def show() -> None:
    """Print the four objects, and predictions for images that training never saw."""
    for kind in ("datasets", "trainingjobs", "models", "inferenceservices"):
        # By the full name, because another operator may have kinds of the same short one.
        print(f"\n$ kubectl get {kind}\n{kubectl('get', f'{kind}.{API_GROUP}', '-n', NAMESPACE)}", end="")
    rows = held_out_rows()
    with forwarded("service/digits", NAMESPACE) as url:
        body = json.dumps({"instances": [{name: row[name] for name in row if name != "digit"} for row in rows]})
        answer = json.loads(request(f"{url}/v1/models/digits:predict", data=body.encode()))
    print("\nHeld-out images, and what the model reads in them:\n")
    print("\n".join(drawing(rows)))
    print("  true label  " + "".join(f"{row['digit']:^18}" for row in rows))
    print("  predicted   " + "".join(f"{prediction:^18}" for prediction in answer["predictions"]))
    print("\n" + held_out_accuracy(answer["model"]["version"]))
    print(
        "\nTry next:\n"
        '  eval "$(make env)"                        kubectl and helm for this cluster\n'
        "  kubectl get windlass                      the four objects\n"
        "  kubectl describe trainingjob digits       what happened, step by step\n"
        "  kubectl explain trainingjob.spec          what else a run can be told\n"
    )


def held_out_rows() -> list[dict[str, Any]]:
    """Rows of the test split, as they stand in the Dataset version."""
    version = json.loads(kubectl("get", f"datasets.{API_GROUP}", "digits", "-n", NAMESPACE, "-o", "json"))["status"]["version"]
    path = f"v1/namespaces/{NAMESPACE}/datasets/digits/versions/{version}/preview?split=test&rows={SAMPLES}"
    with forwarded("service/windlass-preprocess", SYSTEM_NAMESPACE) as url:
        rows: list[dict[str, Any]] = json.loads(request(f"{url}/{path}"))["rows"]
    return rows


def held_out_accuracy(version: int) -> str:
    """What the Model's status tells of that version's accuracy on all of the test split."""
    model = json.loads(kubectl("get", f"models.{API_GROUP}", "digits", "-n", NAMESPACE, "-o", "json"))
    figures = {entry["version"]: entry.get("metrics", {}) for entry in model.get("status", {}).get("versions", [])}
    if "accuracy" not in figures.get(version, {}):
        raise QuickstartError(f"Model digits tells no accuracy of version {version}. Look at: kubectl describe model digits")
    return f"Model digits version {version}: accuracy {figures[version]['accuracy']} on the held-out test split"


def drawing(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The images in characters, side by side; ink from 0 to 16."""
    shades = " .:-=+*#%@"
    for line in range(8):
        cells = ("".join(2 * shades[int(row[f"pixel_{line}_{column}"]) * 9 // 16] for column in range(8)) for row in rows)
        yield " " * 14 + "  ".join(cells)


@contextmanager
def forwarded(target: str, namespace: str) -> Iterator[str]:
    """A local URL that reaches port 80 of a Service while the context lasts."""
    command = ["kubectl", "port-forward", "--namespace", namespace, target, ":80"]  # kubectl finds a free port and names it
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        limit = threading.Timer(FORWARD_SECONDS, process.kill)
        limit.start()
        try:
            said = process.stdout.readline() if process.stdout else ""
            address = re.match(r"Forwarding from (127\.0\.0\.1:\d+) ", said)
            limit.cancel()
            if not address:
                process.kill()
                raise QuickstartError(f"{' '.join(command)} failed: {said}{process.communicate()[0]}")
            yield f"http://{address[1]}"
        finally:
            limit.cancel()
            process.terminate()


def request(url: str, *, method: str | None = None, data: bytes | None = None) -> str:
    """One HTTP request; an answer other than 2xx fails with what the service said."""
    headers = {"Content-Type": "application/json" if method is None else "text/csv"}
    try:
        asked = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310 - a loopback URL
        with urllib.request.urlopen(asked, timeout=REQUEST_SECONDS) as response:  # noqa: S310
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        raise QuickstartError(f"{url} answered {error.code}: {error.read().decode()}") from error
    except OSError as error:
        raise QuickstartError(f"{url} does not answer: {error}") from error


def kubectl(*arguments: str) -> str:
    """Output of one kubectl command."""
    return run(["kubectl", *arguments], hint="kubectl get pods --all-namespaces")


def run(command: list[str], *, hint: str, seconds: float = 60) -> str:
    """Output of a command; a failure says what it said, and where to look."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise QuickstartError(f'{command[0]} is not on the PATH; eval "$(make env)" puts it there') from error
    except subprocess.TimeoutExpired as error:
        raise QuickstartError(f"{' '.join(command)} did not end within {seconds:.0f} s. Look at: {hint}") from error
    if done.returncode != 0:
        raise QuickstartError(f"{' '.join(command)} failed:\n{done.stderr.strip()}\nLook at: {hint}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
