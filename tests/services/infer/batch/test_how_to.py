"""The commands of docs/how-to/batch-predictions.md, run as they stand there, and its example, held against the code."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from control_plane import control_plane
from pod_security import violations

from windlass_core.contracts import InferRun
from windlass_core.store import Store
from windlass_infer.batch.command import spec_of
from windlass_infer.batch.options import add_options

ROOT = Path(__file__).resolve().parents[4]
TEXT = (ROOT / "docs" / "how-to" / "batch-predictions.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
EXAMPLE = yaml.safe_load((ROOT / "examples" / "batch-predict.yaml").read_text())
POD = EXAMPLE["spec"]["template"]["spec"]


def test_the_commands_of_the_page_predict_and_read(make_works: Any, tmp_path: Path) -> None:
    works = make_works({"WINDLASS_STORE_URL": f"file://{tmp_path}/store"})
    works.store = Store.open("default", works.environment)
    works.publish_as("numbers", "digits")
    works.text("raw/new/first.csv", "id,a,b,c\nx,1,2,3\n")
    works.text("raw/new/second.csv", "id,a,b,c\ny,1,2,3\n")
    script = "\n".join(["set -euo pipefail", *COMMANDS]).replace(
        "store://raw/predictions/new\n", "store://raw/predictions/new --port 0\n"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"x"' in done.stdout
    assert '"y"' in done.stdout


def test_the_page_explains_every_option() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    options = [action.option_strings[0] for action in parser._actions]
    assert [option for option in options if f"`{option}" not in TEXT] == []


def test_the_example_passes_the_restricted_standard() -> None:
    assert violations(POD) == []
    assert POD["automountServiceAccountToken"] is False


def test_the_arguments_of_the_example_are_a_run() -> None:
    [container] = POD["containers"]
    command, *arguments = container["args"]
    parser = argparse.ArgumentParser()
    add_options(parser)
    spec = spec_of(parser.parse_args(arguments), {"POD_NAMESPACE": "team"})
    assert command == "run"
    assert isinstance(spec, InferRun)
    assert (spec.namespace, spec.model.name, spec.output) == ("team", "digits", "store://raw/predictions/digits")


def test_the_example_tries_again_what_can_help_and_no_bad_spec_or_data() -> None:
    rules = EXAMPLE["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert codes == {"Ignore": [44], "FailJob": [40, 41]}


def test_an_api_server_takes_the_example_and_its_pod_where_only_restricted_ones_may_run() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": POD}
    with control_plane() as plane:
        plane.kubectl("create", "namespace", "team")
        plane.kubectl("label", "namespace", "team", "pod-security.kubernetes.io/enforce=restricted")
        for made in (EXAMPLE, pod):
            plane.kubectl("create", "--namespace", "team", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(made))
