"""`make bench-serving`, or with options `PYTHONPATH=bench .venv/bin/python -m serving --help`."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from serving import machine
from serving.catalogue import BASELINES, PEERS, windlass
from serving.publish import publish
from serving.results import FAST, OURS, Results, table, target_table
from serving.runs import BENCH, Client, Run
from serving.servers import Running, Server
from serving.targets import CAPACITY, OPEN, OVERLOAD, OVERLOAD_FACTOR, STEADY, targets
from serving.venvs import make, version
from serving.workloads import WORKLOADS, Workload

STAGES = ("closed", "open", "overload")
CONNECTIONS = (1, 16, 64)
# What an answer is worth waiting for, under overload: some ten times what a request takes without a queue.
DEADLINE_SECONDS = {"mlp": 0.05, "resnet": 0.15, "encoder": 0.15}
# A loss that bf16 keeps and int8 mostly does.
ALLOWED_LOSS = 0.02
FIRST_PORT = 17100
# For a version that is loaded for the first time: its engines are compiled, checked and measured.
CHOICE_SECONDS = 600.0


class Bench:
    """One comparison."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.port = FIRST_PORT
        self.workloads = [WORKLOADS[name] for name in options.workloads]
        self.expected = {workload.name: workload.answers() for workload in self.workloads}
        print("# Publishing the models and measuring eager torch", flush=True)
        references = publish(folder / "store", options.workloads)
        self.servers = self._servers(references)
        self.results = Results(
            [server.name for server in self.servers if server.peer], {name: self._ceiling(name) for name in options.workloads}
        )

    def _choose_engines(self) -> None:
        """Start our service once on each model, with one process: the first to load a version measures the engines for all."""
        for workload in self.workloads:
            for server in self.servers:
                if server.name in (OURS, FAST):
                    self.port += 10
                    with Running(server, workload, 1, self.folder, self.port) as running:
                        Client(running, self.expected[workload.name]).wait_until_ready(CHOICE_SECONDS)

    def run(self) -> Results:
        """Closed loops of all servers in rotated order, then open loops at rates that follow from them."""
        self._choose_engines()
        stages = {"closed": self._closed_loops, "open": self._open_loops, "overload": self._overload}
        for workload in self.workloads:
            for stage in STAGES:
                if stage in self.options.stages:
                    print(f"# {workload.name}, {stage}", flush=True)
                    stages[stage](workload)
            save(self.results, self.options)
        return self.results

    def _closed_loops(self, workload: Workload) -> None:
        for number in range(self.options.rounds):
            turn = number % len(self.servers)
            for server in [*self.servers[turn:], *self.servers[:turn]]:
                if number < (self.options.peer_rounds if server.peer else self.options.rounds):
                    self._measure(server, workload, self._closed)

    def _servers(self, references: dict[str, dict[str, object]]) -> list[Server]:
        store = self.folder / "store"
        ours = [windlass(store, references, OURS, engine=self.options.engine)]
        if self.options.loss:
            ours.append(windlass(store, references, FAST, engine=self.options.engine, loss=ALLOWED_LOSS))
        known = [*ours, *BASELINES, *PEERS]
        wanted = self.options.servers
        chosen = [server for server in known if not wanted or server.name in wanted or server.name.split("-")[0] in wanted]
        return [server for server in chosen if server.venv is None or self._has(server.venv)]

    def _has(self, peer: str) -> bool:
        try:
            make(peer)
        except subprocess.CalledProcessError as error:
            print(f"# {peer} cannot be installed and is left out: {error}", flush=True)
            return False
        return True

    def _ceiling(self, workload: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "serving.ceiling", workload, str(self.options.processes), str(self.options.seconds / 2)],
            check=True,
            capture_output=True,
            timeout=600,
            env={"PYTHONPATH": str(BENCH), "OMP_NUM_THREADS": "1"},
        )
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def _measure(self, server: Server, workload: Workload, measure: Callable[[Client], list[Run]]) -> None:
        if (server.name, workload.name) in self.results.absent:
            return
        self.port += 10  # the last server's connections still hold its port
        try:
            with Running(server, workload, self.options.processes, self.folder, self.port) as running:
                client = Client(running, self.expected[workload.name])
                client.wait_until_ready()
                client.check()
                for run in measure(client):
                    self.results.runs.append(run)
                    print(line(run), flush=True)
        except (RuntimeError, subprocess.SubprocessError) as error:
            self.results.absent[server.name, workload.name] = str(error).splitlines()[0]
            print(f"# {server.name} {workload.name}: {error}", flush=True)

    def _closed(self, client: Client) -> list[Run]:
        return [client.closed(connections, self.options.seconds) for connections in CONNECTIONS]

    def _open_loops(self, workload: Workload) -> None:
        """The best peer and ours at the same rate, one after the other."""
        peaks = [found for c in CONNECTIONS[1:] if (found := self.results.best_peer(workload.name, f"closed {c}"))]
        if not peaks:
            print(f"# {workload.name}: no peer has a peak, so there is no rate for an open loop", flush=True)
            return
        best, peak = max(peaks, key=lambda found: found[1])

        def steady(client: Client) -> list[Run]:
            rate = 0.8 * peak
            runs = [client.open(rate, self.options.seconds, label=OPEN)]
            return [*runs, client.open(rate, self.options.seconds, label=f"{OPEN}, bursts", bursts=True)]

        for _ in range(self.options.rounds):
            for server in self.servers:
                if server.name in (OURS, best):
                    self._measure(server, workload, steady)

    def _overload(self, workload: Workload) -> None:
        """Our own capacity, and at once more than that, of the same processes: both move with the machine."""
        deadline = DEADLINE_SECONDS[workload.name]

        def overload(client: Client) -> list[Run]:
            before = client.closed(CONNECTIONS[-1], self.options.seconds, label=CAPACITY)
            run = client.open(OVERLOAD_FACTOR * before.rate, self.options.seconds, label=OVERLOAD, deadline=deadline)
            after = client.closed(CONNECTIONS[-1], self.options.seconds, label=CAPACITY)
            run.capacity_share = 2 * run.in_time / (before.rate + after.rate)
            if not STEADY <= after.rate / before.rate <= 1 / STEADY:
                change = after.rate / before.rate
                run.void = run.void or f"the machine is {change:.2f} times as fast as when the rate was chosen"
            return [before, run, after]

        for _ in range(self.options.rounds):
            for server in self.servers:
                if server.name == OURS:
                    self._measure(server, workload, overload)


def line(run: Run) -> str:
    """One run, as it comes."""
    figures = f"{run.rate:8,.0f}/s p50 {run.p50:8.2f} p99 {run.p99:8.2f} ms  server {run.server_cpu_us:6.0f} us/req"
    share = f"generator {run.generator_cpu_us:4.0f} us/req ({run.generator_core_share:.2f} core)"
    others = f"foreign {run.foreign_cores:.2f} stolen {run.stolen_cores:.2f} cores"
    refused = f" refused {run.refused} (p99 {run.refusal_p99:.1f} ms)" if run.refused else ""
    refused += f" late {run.late}" if run.late else ""
    void = f" VOID {run.void}" if run.void else ""
    return f"{run.workload:8} {run.server:15} {run.load:38} {figures} {share} {others}{refused}{void}"


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="How fast the infer service is, beside others.")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--servers", nargs="+", help="names, or beginnings of names before a dash; all by default")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="`open` needs the peaks of `closed`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, help="closed loops of peers; as many as --rounds by default")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run, without its warm-up")
    parser.add_argument("--processes", type=int, default=int(str(machine.facts()["cores"])), help="of each server")
    parser.add_argument("--engine", default="auto", help="of our own service: auto, onnxruntime, openvino or torch")
    parser.add_argument("--loss", action="store_true", help="also with a loss allowed (bf16, int8)")
    parser.add_argument("--output", type=Path, default=Path("bench-serving.json"), help="raw results, written as they come")
    options = parser.parse_args()
    options.peer_rounds = options.rounds if options.peer_rounds is None else options.peer_rounds
    if "open" in options.stages and "closed" not in options.stages:
        parser.error("`--stages open` needs `closed` before it")
    return options


def main() -> int:
    """Measure, and print tables and targets."""
    options = parsed()
    # Told to stop, end as if interrupted: the servers must not stay behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = machine.facts()
    print(f"# {json.dumps(facts)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="wl-bench-") as folder:  # short: sockets of Ray lie in it
        results = Bench(options, Path(folder)).run()
    loads = [f"closed {connections}" for connections in CONNECTIONS]
    for workload in options.workloads:
        print("\n" + table(results, workload, loads))
    print("\n## Targets\n\n" + target_table(targets(results, options.workloads)))
    print(f"\n# all runs: {options.output}")
    return 0


def save(results: Results, options: argparse.Namespace) -> None:
    """Write what is there so far, so that a comparison that is stopped has not been for nothing."""
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine.facts(),
        "options": {name: str(value) for name, value in vars(options).items()},
        "peers": {server.venv: version(server.venv) for server in PEERS if server.venv and _installed(server.venv)},
        "ceilings": results.ceilings,
        "absent": [[*key, reason] for key, reason in results.absent.items()],
        "targets": [asdict(target) for target in targets(results, options.workloads)],
        "runs": [run.document() for run in results.runs],
    }
    options.output.write_text(json.dumps(document, indent=1))


def _installed(peer: str) -> bool:
    try:
        version(peer)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
