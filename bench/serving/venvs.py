"""Virtual environments of the servers that we compare with, in the cache folder; each reads torch from the project's own.

python -m serving.venvs    make those that are missing
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 900
# What figures were taken with, so that they can be taken again; stands in the results too.
PEERS = {
    "litserve": ["litserve==0.2.19"],
    "ray": ["ray[serve]==2.60.0"],
    "bentoml": ["bentoml==1.4.39"],
    # Its worker processes ask uvloop for a loop in a way that newer ones refuse.
    "mlserver": ["mlserver==1.7.1", "uvloop<0.22"],
    "kserve": ["kserve==0.21.0"],
}
# As the project's torch was built for.
SHARED = ["numpy>=2.2,<3", "orjson", "uvloop", "httptools"]


def folder() -> Path:
    """Where they are."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "windlass" / "bench"


def python_of(name: str) -> Path:
    """The interpreter of one."""
    return folder() / name / "bin" / "python"


def make(name: str) -> None:
    """Make one, unless it is there; raises CalledProcessError when something cannot be installed."""
    place = folder() / name
    done = place / ".done"
    if done.exists():
        return
    uv = ROOT / ".venv" / "bin" / "uv"
    run = [str(uv), "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)]
    subprocess.run(run, check=True, timeout=INSTALL_SECONDS)
    install = [str(uv), "pip", "install", "--quiet", "--python", str(python_of(name)), *PEERS[name], *SHARED]
    subprocess.run(install, check=True, timeout=INSTALL_SECONDS)
    # Behind its own packages: only what it does not have, torch above all, comes from the project.
    site = next(place.glob("lib/python*/site-packages"))
    (site / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done.touch()


def version(name: str) -> str:
    """What is installed of a peer."""
    asked = f"import importlib.metadata as m; print(m.version('{name}'))"
    found = subprocess.run([str(python_of(name)), "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    return found.stdout.strip()


def main() -> int:
    """All of them."""
    missing = 0
    for name in PEERS:
        try:
            make(name)
            print(f"{name} {version(name)}", flush=True)
        except subprocess.CalledProcessError as error:
            missing += 1
            print(f"{name} cannot be installed: {error}", flush=True)
    return 1 if missing == len(PEERS) else 0


if __name__ == "__main__":
    sys.exit(main())
