"""Fuzzes the infer service: `make fuzz`, or `python tests/fuzz --cases 100000 --seed 1`.

For a model of every make a real server is asked its share of the cases over HTTP and gRPC, then what schemathesis
draws from the server's own OpenAPI document. Exit code 1 when a rule was broken; what broke it is printed, and the same
seed shows it again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from infer_fuzz import LOOPBACK, Findings, fuzz, serving
from infer_models import small_models

BROKEN_SHOWN = 20
# Requests that schemathesis draws for each path of each model.
EXAMPLES = 50


def main() -> int:
    """Fuzz; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="damaged requests in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (%(default)s)")
    options = parser.parse_args()
    models = small_models()
    together = Findings()
    for name, model in models.items():
        with serving(model) as server:
            found = fuzz(server, options.cases // len(models), options.seed)
            found.broken += _schemathesis(server.port, options.seed)
        answers = ", ".join(f"{answer} {count}" for answer, count in sorted(found.answers.items()))
        print(f"{name}: {answers}; at most {found.peak_bytes / 1e6:.0f} MB", flush=True)
        together.add(found)
    for sentence in together.broken[:BROKEN_SHOWN]:
        print(sentence, file=sys.stderr)
    print(f"{together.answers.total()} cases, {len(together.broken)} rules broken")
    return 1 if together.broken else 0


def _schemathesis(port: int, seed: int) -> list[str]:
    """Broken rules: what it drew from the OpenAPI document of the server, and was answered otherwise than that says."""
    tool = Path(sys.executable).parent / "schemathesis"
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    bounds = ["--max-examples", str(EXAMPLES), "--seed", str(seed), "--checks", checks, "--no-color"]
    url = f"http://{LOOPBACK}:{port}/openapi.json"
    done = subprocess.run([tool, "run", url, *bounds], capture_output=True, text=True)
    return [] if done.returncode == 0 else [f"schemathesis: {done.stdout[-6000:]}{done.stderr[-1000:]}"]


if __name__ == "__main__":
    sys.exit(main())
