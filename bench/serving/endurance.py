"""A million requests to the small model, and how soon it starts: `PYTHONPATH=bench .venv/bin/python -m serving.endurance`.

One process with the small engine. Prints the time from the start of the process to its first answer, the memory of the process
as the requests go by, and PASS or MISS for what the project wants of them.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from serving import machine
from serving.catalogue import windlass
from serving.publish import publish
from serving.results import Target
from serving.runs import Client
from serving.servers import Running
from serving.workloads import WORKLOADS

PORT = 17090
CONNECTIONS = 16
PARTS = 10
START_LIMIT_SECONDS = 1.0
MEMORY_LIMIT_BYTES = 150_000_000
# After the first part, when all that is made once has been made: so much may wait for the garbage collector between two runs.
GROWTH_LIMIT_BYTES = 10_000_000
STARTS = 5


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="python -m serving.endurance", description="Start, memory, and a million requests.")
    parser.add_argument("--requests", type=int, default=1_000_000)
    requests = parser.parse_args().requests
    workload = WORKLOADS["mlp"]
    expected = workload.answers()
    with tempfile.TemporaryDirectory(prefix="wl-bench-") as name:
        folder = Path(name)
        server = windlass(folder / "store", publish(folder / "store", [workload.name]), engine="onnxruntime")
        starts = []
        for number in range(STARTS):
            with Running(server, workload, 1, folder, PORT + number) as running:
                starts.append(Client(running, expected).wait_until_ready())
        with Running(server, workload, 1, folder, PORT + STARTS) as running:
            client = Client(running, expected)
            client.wait_until_ready()
            client.check()
            sizes = [machine.usage(running.mark).memory_bytes]
            for part in range(PARTS):
                client.requests(requests // PARTS, CONNECTIONS)
                sizes.append(machine.usage(running.mark).memory_bytes)
                print(f"{(part + 1) * requests // PARTS:>9,} requests: {sizes[-1] / 1e6:.1f} MB", flush=True)
    first = sorted(starts)[STARTS // 2]
    growth = sizes[-1] - sizes[1]
    for target in (
        Target("start of the process to the first answer, median", f"{first:.2f} s", first <= START_LIMIT_SECONDS),
        Target("memory of the server", f"{max(sizes) / 1e6:.0f} MB", max(sizes) <= MEMORY_LIMIT_BYTES),
        Target(
            f"growth after the first tenth of {requests:,} requests", f"{growth / 1e6:.2f} MB", growth <= GROWTH_LIMIT_BYTES
        ),
    ):
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
