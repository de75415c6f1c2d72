"""Which objects wait for, or follow, which others: fed by watch events, asked when one of them changes. Knows no cluster."""

from collections import defaultdict

from windlass_operator.api import DATASET, INFERENCE_SERVICE, MODEL, TRAINING_JOB, Key, Manifest


class References:
    """Dependants by what they refer to."""

    def __init__(self) -> None:
        self._targets: dict[Key, frozenset[Key]] = {}
        self._dependants: dict[Key, set[Key]] = defaultdict(set)

    def update(self, dependant: Key, targets: frozenset[Key]) -> None:
        """The dependant refers to exactly these from now on."""
        for target in self._targets.get(dependant, frozenset()) - targets:
            self._dependants[target].discard(dependant)
            if not self._dependants[target]:
                del self._dependants[target]
        for target in targets:
            self._dependants[target].add(dependant)
        if targets:
            self._targets[dependant] = targets
        else:
            self._targets.pop(dependant, None)

    def dependants(self, target: Key) -> frozenset[Key]:
        """Everything that refers to the target."""
        return frozenset(self._dependants.get(target, ()))


def targets(key: Key, body: Manifest) -> frozenset[Key]:
    """What an object refers to and still waits for or follows."""
    spec = body.get("spec") or {}
    match key.kind:
        case TRAINING_JOB.name:
            if _ended(body):
                return frozenset()
            return _named(key, (DATASET.name, spec.get("dataset")), (MODEL.name, spec.get("model")))
        case INFERENCE_SERVICE.name:
            return _named(key, (MODEL.name, spec.get("model")))
        case _:
            return frozenset()


def outward(key: Key, body: Manifest) -> object:
    """The part of an object that its dependants look at; they are told when it changes."""
    status = body.get("status") or {}
    match key.kind:
        case DATASET.name:
            ready = [c for c in status.get("conditions") or [] if c.get("type") == "Ready"]
            versions = [version.get("version") for version in status.get("versions") or []]
            said = [(c.get("status"), c.get("reason"), c.get("message"), c.get("observedGeneration")) for c in ready]
            return (body["metadata"].get("generation"), status.get("version"), versions, said)
        case MODEL.name:
            versions = [(version.get("version"), version.get("digest")) for version in status.get("versions") or []]
            return (body.get("spec"), versions)
        case _:
            return None


def _ended(body: Manifest) -> bool:
    found = (body.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Succeeded" and c.get("status") in ("True", "False") for c in found)


def _named(key: Key, *references: tuple[str, Manifest | None]) -> frozenset[Key]:
    return frozenset(Key(kind, key.namespace, ref["name"]) for kind, ref in references if ref and ref.get("name"))
