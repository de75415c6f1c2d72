"""Helm for tests: the chart rendered with values, as a list of manifests. Speaks to no cluster."""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
Values = dict[str, Any]
Render = Callable[..., list[Manifest]]

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "windlass"
RELEASE = "windlass"
NAMESPACE = "windlass-system"
# Helm takes the cluster's version from here when it renders without one; the oldest that the chart is for.
KUBERNETES_VERSION = "1.31.0"
HELM_SECONDS = 30


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one helm command and gives what came of it."""
    if not shutil.which("helm"):
        pytest.fail('helm is not on the PATH; `make chart` puts it there, and so does: eval "$(make env)"', pytrace=False)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=HELM_SECONDS, check=False)

    return run


@pytest.fixture(scope="session")
def try_render(
    helm: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Renders the chart with values; what helm said, whether it worked or not."""
    folder = tmp_path_factory.mktemp("values")

    def run(values: Values | None = None, release: str = RELEASE) -> subprocess.CompletedProcess[str]:
        path = folder / "values.json"
        path.write_text(json.dumps(values or {}), encoding="utf-8")
        place = ["--namespace", NAMESPACE, "--kube-version", KUBERNETES_VERSION]
        return helm("template", release, str(CHART), "--values", str(path), *place)

    return run


@pytest.fixture(scope="session")
def render(try_render: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """The manifests that an install with these values would apply; rendered once a set of values."""

    @cache
    def text(values: str, release: str) -> str:
        done = try_render(json.loads(values), release)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(values: Values | None = None, release: str = RELEASE) -> list[Manifest]:
        documents = yaml.load_all(text(json.dumps(values), release), Loader=yaml.CSafeLoader)
        return [manifest for manifest in documents if manifest]

    return run
