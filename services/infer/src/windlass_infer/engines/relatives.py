"""Finds figures for a version that nobody has measured: those of another version of its model that is as large.

A model that is trained anew has other weights in the same program, which takes the same time. Without its predecessor's figures
the first pod of each version would measure for seconds before it may answer, while an alias is being moved.

How fast an engine is follows from the program's shape, but not whether it is right. So whoever uses these figures compares the
engine's answers with those of the version itself.
"""

from windlass_core.errors import BadData, NotFound
from windlass_core.manifests import Manifest
from windlass_core.registry import PublishedVersion, Registry
from windlass_infer.engines import figures as sidecar
from windlass_infer.engines.figures import Circumstances, Figures

# The newest versions of a model that are looked at. Each costs three requests, a few milliseconds in a store nearby.
LOOKED_AT = 4
# Names and notes inside a program's file differ from one training to the next, and with them its size, by less than this share.
SIZE_TOLERANCE = 0.01


def of_relative(published: PublishedVersion, wanted: Circumstances) -> Figures | None:
    """Figures of the newest version that is as large and has them; None when there is none.

    Figures with an engine that failed are passed over: it may work with these weights.

    Raises:
        Unavailable: the store does not answer.
    """
    registry = Registry(published.store, "models")
    name, own = published.reference.name, published.reference.version
    for number in reversed(registry.versions(name, newest=LOOKED_AT)):
        try:
            relative = registry.open(name, number)
        except (NotFound, BadData):  # deleted in this moment, or made by a later release
            continue
        if number == own or not _alike(published.manifest, relative.manifest):
            continue
        found = sidecar.read(relative, wanted.model_copy(update={"digest": relative.reference.digest}))
        if found and all(figure.failure is None for figure in found.engines):
            return found.model_copy(update={"circumstances": wanted, "measured_on": found.measured_on or number})
    return None


def _alike(one: Manifest, other: Manifest) -> bool:
    """Whether the programs of two versions cost the same, as far as their manifests tell."""
    a, b = one.model, other.model
    if a is None or b is None or (a.recipe, a.parameters, set(a.formats)) != (b.recipe, b.parameters, set(b.formats)):
        return False
    tensors = [[(each.name, each.datatype, each.shape) for each in (*of.inputs, *of.outputs)] for of in (a, b)]
    sizes = [(_bytes(one, a.formats[name]), _bytes(other, b.formats[name])) for name in a.formats]
    return tensors[0] == tensors[1] and all(abs(x - y) <= SIZE_TOLERANCE * max(x, y) for x, y in sizes)


def _bytes(manifest: Manifest, path: str) -> int:
    file = manifest.file(path)
    return file.bytes if file else 0
