"""Print the third-party requirements of one of our packages, from the `pyproject.toml` files beside this script.

Used while an image is built, so that its dependencies can be installed before any of our code is there: requirements
on our own packages are followed into their extras, never printed. It knows nothing of images, indexes or versions
that are pinned; `constraints.txt` holds those.

    python3 requirements.py 'windlass-preprocess[run]' windlass-core
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[(?P<extras>[^\]]*)\])?")


def projects(folder: Path) -> dict[str, dict[str, Any]]:
    """Every `[project]` table found in `folder`, by the project's name."""
    tables = (tomllib.loads(path.read_text())["project"] for path in sorted(folder.rglob("*.toml")))
    return {table["name"]: table for table in tables}


def third_party(wanted: Iterable[str], ours: dict[str, dict[str, Any]]) -> set[str]:
    """The requirements that `wanted` has on packages that are not `ours`; each of `wanted` names one of ours.

    Raises KeyError for an extra that a package of ours does not declare.
    """
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(wanted)
    while waiting:
        requirement = waiting.pop()
        if requirement in seen:
            continue
        seen.add(requirement)
        match = REQUIREMENT.match(requirement)
        if match is None or match["name"] not in ours:
            found.add(requirement)
            continue
        waiting.extend(_declared(ours[match["name"]], match["extras"] or ""))
    return found


def _declared(project: dict[str, Any], extras: str) -> Iterator[str]:
    yield from project.get("dependencies", ())
    for extra in filter(None, (name.strip() for name in extras.split(","))):
        yield from project["optional-dependencies"][extra]


if __name__ == "__main__":
    requirements = third_party(sys.argv[1:], projects(Path(__file__).parent))
    sys.stdout.write("".join(f"{requirement}\n" for requirement in sorted(requirements)))
