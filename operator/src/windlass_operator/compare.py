"""Whether a child already is what its manifest asks for, and whose child it is. Pure.

The API server fills defaults in and writes quantities its own way, so equality is asked only of what the manifest says. That
alone would miss a field that an older manifest had and this one has not; a digest of the manifest, kept as an annotation on
the child, tells of those.
"""

import hashlib
import json
from enum import Enum
from fractions import Fraction
from typing import Any

from windlass_operator.api import Manifest
from windlass_operator.plan import Parent

DIGEST_ANNOTATION = "windlass.dev/manifest-digest"
DIGEST_LENGTH = 16  # hexadecimal digits; it tells versions of one object apart, nobody attacks it

_DECIMAL = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}
_SUFFIXES = {
    "m": Fraction(1, 1000),
    **{suffix: Fraction(10**power) for suffix, power in _DECIMAL.items()},
    **{suffix: Fraction(2**power) for suffix, power in _BINARY.items()},
}


class Ownership(Enum):
    """Whose an existing object is."""

    ABSENT = "absent"
    OURS = "ours"
    LEFTOVER = "leftover"  # of an earlier object of our kind and name; garbage collection will take it
    FOREIGN = "foreign"


def ownership(parent: Parent, child: Manifest | None) -> Ownership:
    """Whose child this is, by its controller owner reference."""
    if child is None:
        return Ownership.ABSENT
    controller = next((o for o in child["metadata"].get("ownerReferences") or [] if o.get("controller")), None)
    if controller is None:
        return Ownership.FOREIGN
    if controller["uid"] == parent.uid:
        return Ownership.OURS
    same_name = (controller["kind"], controller["name"]) == (parent.kind.name, parent.name)
    return Ownership.LEFTOVER if same_name else Ownership.FOREIGN


def digest(value: Any, length: int = DIGEST_LENGTH) -> str:
    """The first hexadecimal digits of the sha256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def stamped(manifest: Manifest) -> Manifest:
    """The manifest with its own digest as an annotation."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), DIGEST_ANNOTATION: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def covers(live: Any, wanted: Any) -> bool:
    """Whether `live` says all that `wanted` says. An empty string or list and an absent field are the same to the server."""
    match wanted:
        case dict():
            return isinstance(live, dict) and all(covers(live.get(key), value) for key, value in wanted.items())
        case list():
            live = live or []
            return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
        case "" | None:
            return live in ("", None)
        case str():
            return bool(live == wanted) or _same_quantity(live, wanted)
        case bool():
            return bool((live or False) == wanted)
        case _:
            return bool(live == wanted)


def quantity(text: str) -> Fraction | None:
    """The number that a Kubernetes quantity stands for, or None when it is none."""
    number = text.rstrip("kKMGTim")
    try:
        return Fraction(number) * _SUFFIXES[text[len(number) :]]
    except (ValueError, KeyError, ZeroDivisionError):
        return None


def _same_quantity(live: Any, wanted: str) -> bool:
    if not isinstance(live, str):
        return False
    number = quantity(wanted)
    return number is not None and number == quantity(live)
