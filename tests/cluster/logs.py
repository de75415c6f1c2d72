"""The logs of the cluster's components, for people.

Knows: the folder of logs. Must not know: the components.
"""

from __future__ import annotations

from console import ClusterError
from layout import Layout
from shell import last_lines


def show(layout: Layout, components: list[str], lines: int) -> str:
    """The end of each named component's log, or the list of logs when none is named.

    Raises ClusterError for a name that has no log.
    """
    present = {path.stem: path for path in sorted(layout.logs.glob("*.log"))}
    if not components:
        if not present:
            return f"There are no logs in {layout.logs}."
        return "\n".join(f"{name:<26} {path}" for name, path in present.items())
    unknown = [name for name in components if name not in present]
    if unknown:
        raise ClusterError(f"There is no log of {', '.join(unknown)}; there are logs of: {', '.join(present) or 'nothing'}.")
    return "\n".join(f"{present[name]}:\n{last_lines(present[name].read_text(errors='replace'), lines)}" for name in components)
