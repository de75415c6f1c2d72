"""Which images are kept when newer ones follow them, so that three stores of them stay within a bound.

An image lies in the builder's storage, in the registry, and unpacked on the node: what is kept here costs about five
times its compressed size. Pure; must not know: the stores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

KEPT_TAGS = 3  # of each image, so that changing between branches does not build again
# Compressed, of all images together. What is in use has 3 GB, most of it torch; a second torch, which only a change of
# its version or of the base image brings, does not fit.
KEPT_BYTES = 5_000_000_000


def outdated(names: Iterable[str], wanted: Collection[str]) -> list[str]:
    """Of names that come newest first, those with `KEPT_TAGS` newer tags of the same image, and none of the wanted.

    >>> outdated(["a:5", "a:4", "a:3", "a:2", "b:1"], {"a:3"})
    ['a:2']
    """
    seen: Counter[str] = Counter()
    old = []
    for name in names:
        repository = name.rpartition(":")[0]
        if seen[repository] >= KEPT_TAGS and name not in wanted:
            old.append(name)
        seen[repository] += 1
    return old


def too_large(images: Mapping[str, Mapping[str, int]], wanted: Collection[str], limit: int = KEPT_BYTES) -> list[str]:
    """Of images that come newest first, given as digest to bytes of their layers, those that do not fit into `limit` bytes.

    The wanted count first and always stay; a layer counts once, whoever shares it.

    >>> too_large({"a:3": {"code3": 1, "torch2": 9}, "a:2": {"code2": 1, "torch2": 9}, "a:1": {"torch1": 9}}, {"a:3"}, 12)
    ['a:1']
    """
    stored = {digest: size for name in wanted for digest, size in images.get(name, {}).items()}
    old = []
    for name, layers in images.items():
        together = {**stored, **layers}
        if name not in wanted and sum(together.values()) > limit:
            old.append(name)
        else:
            stored = together
    return old
