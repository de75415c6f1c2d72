"""Which models and versions this process has, and which version of each answers.

    install   a version begins to answer under its model's name; the one before stays at hand
    switch    back to a version that stayed
    remove    a version, or a model with all of them

Versions that do not answer by default are kept while all fit into KEPT_BYTES, and are asked by their number meanwhile; of the
model whose version changes, those that answered longest ago go first. Pure: loads nothing and closes nothing, but says what to
close.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from windlass_core.errors import Conflict, NotFound
from windlass_infer.serving import Serving

# Programs of versions that are kept for a way back, by the size of their files. Their engines take about as much again, which
# together is half of what a pod of the small image is given by default.
KEPT_BYTES = 128 * 1024 * 1024

# Loads that failed are told of until the next success; of older ones than these nobody wants to know.
KEPT_FAILURES = 32


class State(StrEnum):
    """States of the protocol's repository index."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass
class Model:
    """One name: what answers, what is kept, and why the last load failed."""

    name: str
    current: Serving | None = None
    kept: dict[int, Serving] = field(default_factory=dict)  # the one that answered last is the last
    loading: int | None = None
    failures: dict[int, str] = field(default_factory=dict)  # by version, until it loads

    @property
    def servings(self) -> list[Serving]:
        """All its versions, the one that answers first, then the newest."""
        first = [self.current] if self.current else []
        return first + [self.kept[number] for number in sorted(self.kept, reverse=True)]

    def version(self, number: int) -> Serving | None:
        """A version that is loaded."""
        if self.current and self.current.version.number == number:
            return self.current
        return self.kept.get(number)


@dataclass(frozen=True)
class IndexEntry:
    """One line of the repository's index."""

    name: str
    version: str
    state: State
    reason: str = ""


class Table:
    """All models of a process. Used on the event loop.

    Args:
        changed: called after each change of what is loaded.
        kept_bytes: for versions that do not answer by default.
    """

    def __init__(self, changed: Callable[[], None], *, kept_bytes: int = KEPT_BYTES) -> None:
        self._models: dict[str, Model] = {}
        self._changed = changed
        self._kept_bytes = kept_bytes

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    @property
    def servings(self) -> list[Serving]:
        """All versions that are loaded."""
        return [serving for model in self for serving in model.servings]

    def model(self, name: str) -> Model | None:
        """A model by the name that it answers under."""
        return self._models.get(name)

    def lookup(self, name: str, version: str | None = None) -> Serving:
        """What answers for a name, or for one version of it. Raises NotFound, saying what there is."""
        model = self._models.get(name)
        if model is None or model.current is None:
            here = ", ".join(sorted(name for name, model in self._models.items() if model.current)) or "none yet"
            raise NotFound(f"no model '{name}' is loaded; this server has: {here}")
        if version is None or version == str(model.current.version.number):
            return model.current
        serving = model.kept.get(int(version)) if version.isascii() and version.isdecimal() else None
        if serving is None:
            have = ", ".join(str(serving.version.number) for serving in model.servings)
            raise NotFound(f"version {version} of model '{name}' is not loaded; this server has: {have}")
        return serving

    def begin(self, name: str, version: int) -> None:
        """Note that a version is being loaded."""
        self._models.setdefault(name, Model(name)).loading = version

    def ended(self, name: str) -> None:
        """Note that nothing is being loaded any more."""
        model = self._models.get(name)
        if model is not None:
            model.loading = None

    def failed(self, name: str, version: int, reason: str) -> None:
        """Note that a version could not be loaded; what answered answers on."""
        model = self._models.setdefault(name, Model(name))
        model.loading = None
        model.failures.pop(version, None)
        model.failures[version] = reason
        while len(model.failures) > KEPT_FAILURES:
            del model.failures[next(iter(model.failures))]
        failed = [other for other in self if not other.servings and other.loading is None]
        for other in failed[:-KEPT_FAILURES]:
            del self._models[other.name]

    def install(self, serving: Serving) -> list[Serving]:
        """Let a version answer, from the next request on; requests that have begun keep theirs.

        Returns:
            Versions that are kept no longer.
        """
        version = serving.version
        model = self._models.setdefault(version.name, Model(version.name))
        model.loading = None
        model.failures.pop(version.number, None)
        replaced = model.kept.pop(version.number, None)
        before, model.current = model.current, serving
        dropped = [replaced] if replaced not in (None, serving) else []
        if before not in (None, serving):
            if before.version.number == version.number:
                dropped.append(before)
            else:
                model.kept[before.version.number] = before
        dropped += self._shrink(model)
        self._changed()
        return dropped

    def remove(self, name: str, version: int | None = None) -> list[Serving]:
        """Forget a model, or one version that does not answer by default.

        Returns:
            What to close.

        Raises:
            NotFound: it is not loaded.
            Conflict: the version answers by default.
        """
        model = self._models.get(name)
        if model is None or not model.servings or (version is not None and model.version(version) is None):
            what = f"model '{name}'" if version is None else f"version {version} of model '{name}'"
            raise NotFound(f"{what} is not loaded")
        if version is None:
            del self._models[name]
            removed = model.servings
        elif model.current and model.current.version.number == version:
            raise Conflict(f"version {version} of model '{name}' answers now; load another version first, or unload the model")
        else:
            removed = [model.kept.pop(version)]
        self._changed()
        return removed

    def index(self) -> list[IndexEntry]:
        """All versions that are loaded, being loaded, or could not be loaded."""
        entries: list[IndexEntry] = []
        for model in self:
            entries += [IndexEntry(model.name, str(serving.version.number), State.READY) for serving in model.servings]
            if model.loading is not None and model.version(model.loading) is None:
                entries.append(IndexEntry(model.name, str(model.loading), State.LOADING))
            entries += [
                IndexEntry(model.name, str(number), State.UNAVAILABLE, reason)
                for number, reason in model.failures.items()
                if model.version(number) is None and number != model.loading
            ]
        return entries

    def _shrink(self, changed: Model) -> list[Serving]:
        """Take out what is kept no longer, of the model whose version has changed: without it all others fit, as they did."""
        dropped = []
        while changed.kept and self._kept() > self._kept_bytes:
            dropped.append(changed.kept.pop(next(iter(changed.kept))))
        return dropped

    def _kept(self) -> int:
        return sum(serving.bytes for model in self for serving in model.kept.values())
