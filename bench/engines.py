"""How fast each engine runs each workload on this machine, as ratios to eager torch, and which one `auto` would choose.

    python bench/engines.py                     exact engines
    python bench/engines.py --loss 0.01         also bf16 and int8, where the CPU has instructions for them
    python bench/engines.py --workload resnet   one of mlp, resnet, encoder

Everything is measured by what serves: trials in a process for each library, one thread each, the fastest of short windows.
Versions are published into a folder that is removed afterwards; nothing else is touched and no cluster is needed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from serving.workloads import WORKLOADS, Workload
from windlass_core.registry import PublishedVersion
from windlass_core.store import Store
from windlass_infer.engines import figures, tournament
from windlass_infer.engines.candidates import EngineChoice, field
from windlass_infer.engines.decision import decide, speed
from windlass_infer.engines.figures import Figure, Figures
from windlass_infer.engines.machine import Machine, this_machine
from windlass_infer.engines.samples import read_sample
from windlass_infer.engines.selection import manifest_signature
from windlass_infer.engines.timing import BATCHES
from windlass_train.tensor_version import publish_tensor_version

# Rows that are stored with a version: enough to compare engines on.
SAMPLE_ROWS = 16
EAGER = "torch"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", type=float, default=None, help="loss that is allowed; unset: exact engines alone")
    parser.add_argument("--workload", choices=sorted(WORKLOADS), action="append", help="only these")
    options = parser.parse_args()
    machine, choice = this_machine(), EngineChoice("auto", options.loss)
    print(f"CPU: {machine.kind}\nlibraries: {', '.join(f'{name} {version}' for name, version in machine.libraries.items())}")
    for name in options.workload or WORKLOADS:
        with tempfile.TemporaryDirectory(prefix="windlass-bench-") as folder:
            measured, refused = _measure(WORKLOADS[name], choice, machine, Path(folder))
        _print(name, measured, decide(measured.engines, refused, choice).ranking)
    return 0


def _measure(workload: Workload, choice: EngineChoice, machine: Machine, folder: Path) -> tuple[Figures, dict[str, str]]:
    published = _publish(workload, folder)
    content = published.manifest.model
    assert content is not None
    assert content.sample is not None
    signature = manifest_signature(content)
    taking = field(choice, content.formats, machine)
    needed = {candidate.format for candidate in taking.candidates}
    programs = {format_: published.download(content.formats[format_], folder / format_) for format_ in needed}
    where = figures.circumstances(published, taking.candidates, choice, machine)
    sample = read_sample(published.read(content.sample), signature)
    return tournament.compete(taking.candidates, programs, signature, sample, where, folder), dict(taking.refused)


def _publish(workload: Workload, folder: Path) -> PublishedVersion:
    root = folder / "store"
    root.mkdir()
    store = Store.open("bench", {"WINDLASS_STORE_URL": f"file://{root}"})
    inputs = {"input": torch.from_numpy(workload.questions()[:SAMPLE_ROWS])}
    return publish_tensor_version(store, workload.name, workload.module(), inputs, ["output"], owner="bench")


def _print(name: str, measured: Figures, ranking: tuple[str, ...]) -> None:
    chosen = ranking[0] if ranking else "none"
    print(f"\n{name}: auto serves {chosen}; compared with {measured.reference}; {measured.seconds:.1f} s of measuring")
    print(f"{'engine':18}" + "".join(f"{f'rows/s at {rows}':>20}" for rows in BATCHES) + f"{'apart':>10}{'load s':>8}")
    eager = measured.of(EAGER)
    for figure in sorted(measured.engines, key=speed, reverse=True):
        print(_line(figure, eager))


def _line(figure: Figure, eager: Figure | None) -> str:
    if figure.failure is not None:
        return f"{figure.variant:18}  {figure.failure}"
    cells = ""
    for rows in BATCHES:
        rate = figure.rows_per_second.get(rows)
        base = eager.rows_per_second.get(rows) if eager else None
        text = "-" if rate is None else f"{rate:,.0f}" + (f" ({rate / base:.2f}x)" if base else "")
        cells += f"{text:>20}"
    return f"{figure.variant:18}{cells}{figure.difference:>10.1e}{figure.load_seconds:>8.2f}"


if __name__ == "__main__":
    sys.exit(main())
