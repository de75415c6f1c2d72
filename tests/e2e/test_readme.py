"""Every command of the README runs as it stands there, in its order, in one shell of a user."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from kube import kubectl

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
# One prediction, one upload, one run: minutes, not more.
BLOCK_SECONDS = 600

BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# Runs these tests itself, so running it here would not end.
TEST_COMMAND = "make test"


def clean_environment() -> dict[str, str]:
    """A shell that knows nothing of a cluster yet, as the README's reader has it."""
    ours = ("KUBECONFIG", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    return {name: value for name, value in os.environ.items() if name not in ours}


@pytest.fixture(scope="module")
def transcript() -> str:
    """Output of all commands but `make test`, each block in the shell that the blocks before it left."""
    blocks = [block for block in BLOCKS if block.strip() != TEST_COMMAND]
    # What a failed command leaves in the background must not outlive the test.
    head = "set -e -o pipefail\ntrap 'jobs -p | xargs --no-run-if-empty kill' EXIT\n"
    script = head + "\n".join(f"echo '### block {index}'\n{block}" for index, block in enumerate(blocks))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=BLOCK_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def default_namespace_is_clean() -> None:
    """The README's objects, and only those, start from nothing."""
    for kind in ("inferenceservices", "trainingjobs", "datasets", "models"):
        kubectl("delete", kind, "digits", "iris", "--ignore-not-found", "--namespace", "default", seconds=180)


def test_make_up_ends_with_predictions_beside_true_labels(transcript: str) -> None:
    labels = re.search(r"true label +([\d ]+)", transcript)
    predicted = re.search(r"predicted +([\d ]+)", transcript)
    assert labels is not None
    assert predicted is not None
    assert len(labels[1].split()) == len(predicted[1].split()) == 5


def test_make_up_tells_the_accuracy_on_all_held_out_images(transcript: str) -> None:
    assert re.search(r"^Model digits version \d+: accuracy 0\.9\d+ on the held-out test split$", transcript, re.MULTILINE)


def test_the_digit_sent_by_hand_is_read_as_a_zero(transcript: str) -> None:
    assert '"predictions":[0]' in transcript.replace(" ", "")


def test_own_data_becomes_a_model(transcript: str) -> None:
    assert "trainingjob.windlass.dev/iris condition met" in transcript
    assert re.search(r"^iris .*accuracy=0\.9", transcript, re.MULTILINE)


def test_ci_calls_the_test_command_of_the_readme() -> None:
    assert TEST_COMMAND in [block.strip() for block in BLOCKS]
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_example_in_the_readme_is_the_file_that_is_applied() -> None:
    [shown] = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert list(yaml.safe_load_all(shown)) == list(yaml.safe_load_all((ROOT / "examples" / "digits.yaml").read_text()))
