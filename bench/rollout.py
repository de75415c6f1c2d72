"""How long a change of our code takes until all of it runs: `python bench/rollout.py`, on the cluster that make up started.

A copy of the checkout gets one line more in the package that every image holds; then all images are built and pushed, and the
release is upgraded until its pods are ready. Afterwards the release is brought back to the checkout itself, which is the same
work once more, so two figures come of it.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED_MODULE = Path("services/core/src/windlass_core/__init__.py")
STEP_SECONDS = 600


def main() -> int:
    """Measure there and back."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        checkout_to(copy)
        changed = copy / SHARED_MODULE
        changed.write_text(changed.read_text() + f"# changed at {time.time_ns()}\n")
        try:
            print(f"a changed line in every image: {rolled_out(copy)}", flush=True)
        finally:
            # Also when the measurement failed: nobody else's cluster may go on with a line that is in no checkout.
            print(f"and back to the checkout:      {rolled_out(ROOT)}")
    return 0


def checkout_to(copy: Path) -> None:
    """Copy what git knows of the working tree, as it stands now."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout
    for name in filter(None, tracked.split("\0")):
        if not (ROOT / name).exists():
            continue  # removed, and not committed yet
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def rolled_out(checkout: Path) -> str:
    """Build and push the images of a checkout, upgrade the release to them, and say how long it took."""
    began = time.monotonic()
    run([sys.executable, str(checkout / "tests" / "cluster"), "images"])
    built = time.monotonic()
    values = run([sys.executable, str(checkout / "tests" / "cluster"), "images-file"]).strip()
    chart = str(checkout / "charts" / "windlass")
    run(
        ["helm", "upgrade", "windlass", chart, "--namespace", "windlass-system", "--values", values, "--wait", "--timeout=300s"]
    )
    rolled = time.monotonic()
    return f"{rolled - began:.1f} s (images {built - began:.1f} s, rollout {rolled - built:.1f} s)"


def run(command: list[str]) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
