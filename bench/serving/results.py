"""All runs, their medians, and what the project wants of them.

A figure is the median of the rounds that are not void. Ratios are what to quote: seconds move with the machine.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from serving.runs import Run

OURS = "windlass"
FAST = "windlass-fast"


@dataclass(frozen=True)
class Target:
    """One thing that is wanted, and what was found. `met` is None when it could not be measured."""

    sentence: str
    found: str
    met: bool | None

    def __str__(self) -> str:
        word = {True: "PASS", False: "MISS", None: "----"}[self.met]
        return f"{word}  {self.sentence}: {self.found}"


class Results:
    """Runs by server, workload and load."""

    def __init__(self, peers: Iterable[str], ceilings: Mapping[str, Mapping[str, object]]) -> None:
        self.runs: list[Run] = []
        self.ceilings = ceilings
        self.absent: dict[tuple[str, str], str] = {}
        self._peers = tuple(peers)

    def of(self, server: str, workload: str, load: str) -> list[Run]:
        """Those that may be used."""
        wanted = (server, workload, load)
        return [run for run in self.runs if (run.server, run.workload, run.load) == wanted and not run.void]

    def median(self, server: str, workload: str, load: str, figure: str) -> float | None:
        """Of one figure over the rounds; None when there is none."""
        found = [getattr(run, figure) for run in self.of(server, workload, load)]
        return float(median(found)) if found else None

    def best_peer(self, workload: str, load: str, figure: str = "rate", *, least: bool = False) -> tuple[str, float] | None:
        """The peer with the highest, or the least, median of a figure."""
        found = [(value, peer) for peer in self._peers if (value := self.median(peer, workload, load, figure)) is not None]
        if not found:
            return None
        value, peer = min(found) if least else max(found)
        return peer, value

    def servers(self, workload: str) -> Sequence[str]:
        """All that were asked, in the order in which they first were."""
        return list(dict.fromkeys(run.server for run in self.runs if run.workload == workload))

    def eager_rows(self, workload: str, connections: int | None = None) -> float:
        """Rows a second of eager torch in a plain loop, at its best batch; with `connections` of those that they can fill."""
        rates, processes = self.ceilings[workload]["rows_per_second"], self.ceilings[workload]["processes"]
        assert isinstance(rates, Mapping)
        assert isinstance(processes, int)
        most = max(connections // processes, 1) if connections else math.inf
        return float(max(rate for batch, rate in rates.items() if int(batch) <= most))

    def naive_work_ms(self, workload: str) -> float:
        """Milliseconds of the naive handler's own work."""
        found = self.ceilings[workload]["naive_work_ms"]
        assert isinstance(found, float)
        return found

    def ceiling(self, workload: str, load: str) -> float | None:
        """Requests a second of bare ASGI that also had to compute each row as fast as eager torch does at its best."""
        bare = self.median("bare", workload, load, "rate")
        return None if bare is None else 1 / (1 / bare + 1 / self.eager_rows(workload))


def target_table(targets: Iterable[Target]) -> str:
    """All targets with what was found."""
    words = {True: "met", False: "not met", None: "not measured"}
    lines = [f"| {target.sentence} | {target.found} | {words[target.met]} |" for target in targets]
    return "\n".join(["| wanted | found: ratio (ours : other) | |", "|---|---|---|", *lines])


def table(results: Results, workload: str, loads: Sequence[str]) -> str:
    """Rates and latencies of all servers; a tilde stands by figures of rounds in which others used the cores."""
    lines = [
        f"## {workload}: eager torch alone {results.eager_rows(workload):,.0f} rows/s, "
        f"naive handler's work {results.naive_work_ms(workload):.3f} ms",
        "",
        "| server | " + " | ".join(f"{load}: req/s, p50, p99 ms" for load in loads) + " | CPU us/request | memory MB |",
        "|---|" + "---|" * (len(loads) + 2),
    ]
    for server in results.servers(workload):
        cells = [_cell(results, server, workload, load) for load in loads]
        cpu = results.median(server, workload, loads[-1], "server_cpu_us")
        memory = results.median(server, workload, loads[-1], "memory_mb")
        lines.append(f"| {server} | {' | '.join(cells)} | {cpu or 0:.0f} | {memory or 0:.0f} |")
    lines += [f"- {server}: {reason}" for (server, found), reason in results.absent.items() if found == workload]
    return "\n".join(lines)


def _cell(results: Results, server: str, workload: str, load: str) -> str:
    runs = results.of(server, workload, load)
    if not runs:
        void = [run.void for run in results.runs if (run.server, run.workload, run.load) == (server, workload, load)]
        return f"void: {void[0]}" if void else "-"
    rate, p50, p99 = (median(getattr(run, figure) for run in runs) for figure in ("rate", "p50", "p99"))
    ours = results.median(OURS, workload, load, "rate")
    ratio = f" ({rate / ours:.2f}x)" if ours and server != OURS else ""
    return f"{'~' if any(run.noisy for run in runs) else ''}{rate:,.0f}{ratio}, {p50:.2f}, {p99:.2f}"
