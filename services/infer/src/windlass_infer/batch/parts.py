"""The parts of a run and its manifest in the store. All are written create-only: a part exists only when it is whole, and of
two runs of one plan the first to write a part has written it for both.

    _plan.json                    what the run is; written first
    part-<file>-<number>.parquet  the predictions for one partition
    _manifest.json                written last: from then on the predictions are whole

Knows no model and no rows.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from windlass_core.contracts import VersionReference
from windlass_core.errors import BadData, Conflict, NotFound
from windlass_core.manifests import ManifestModel
from windlass_core.store import URI_SCHEME, Store
from windlass_infer.batch.plan import Plan
from windlass_infer.batch.reading import Place
from windlass_infer.batch.writing import made_of, schema_of

MANIFEST_FILE = "_manifest.json"
_PART = re.compile(r"part-(\d{5})-(\d{6})\.parquet")


class Part(ManifestModel):
    """One part."""

    path: str = Field(description="Relative to the folder.")
    source: str = Field(description="URI of the input file that it is of.")
    first_row: int = Field(description="Of that file, counted from 0 without a header.")
    rows: int
    bytes: int
    sha256: str
    engine: str = Field(description="What computed it, for example onnxruntime.")


class InputFile(ManifestModel):
    """One input file."""

    uri: str
    bytes: int
    sha256: str


class Predictions(ManifestModel):
    """_manifest.json of a run."""

    schema_version: Literal[1] = 1
    kind: Literal["predictions"] = "predictions"
    created_at: datetime
    model: VersionReference
    dataset: VersionReference | None = None
    split: str | None = None
    inputs: list[InputFile]
    input_digest: str = Field(description="sha256:<hex> over the digests of the inputs, one a line, in their order.")
    rows: int
    columns: dict[str, str] = Field(description="Of each part: type by name.")
    classes: list[str] | None = Field(default=None, description="What each of the probabilities is of.")
    keep: list[str]
    parts: list[Part] = Field(description="In the order of the input.")


class Parts:
    """The output folder of a run."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._made: dict[tuple[int, int], Part] = {}
        self._columns: dict[str, str] = {}
        found = (_PART.fullmatch(entry.path.rsplit("/", 1)[-1]) for entry in store.list(folder))
        self.before = frozenset((int(match[1]), int(match[2])) for match in found if match)

    def is_done(self, file: int, number: int) -> bool:
        """Whether the part was there when this run began."""
        return (file, number) in self.before

    def add(self, place: Place, data: bytes) -> None:
        """Write a part; where another run has written it meanwhile, that one counts."""
        try:
            self._store.create(f"{self._folder}/{_name(place)}", data)
        except Conflict:
            self._note(place, self._store.read(f"{self._folder}/{_name(place)}"))
        else:
            self._note(place, data)

    def all(self, places: Sequence[Place], plan: Plan) -> list[Part]:
        """All parts of the run; those that were there before are read, for their digests.

        Raises:
            BadData: one of them was not written by a run of this plan.
        """
        for place in places:
            if (place.file, place.number) not in self._made:
                self._note(place, self._store.read(f"{self._folder}/{_name(place)}"))
        parts = [self._made[place.file, place.number] for place in places]
        for part, place in zip(parts, places, strict=True):
            expected = (plan.uri(plan.files[place.file]), place.first, place.rows)
            if (part.source, part.first_row, part.rows) != expected:
                raise BadData(f"{URI_SCHEME}{self._folder}/{part.path} is not of this run; remove it and run again")
        return parts

    def publish(self, predictions: Predictions) -> tuple[Predictions, str]:
        """Write the manifest; the first counts. Gives it and its digest."""
        with suppress(Conflict):  # a run of the same plan was faster
            self._store.create(f"{self._folder}/{MANIFEST_FILE}", _json(predictions))
        found = self.published()
        assert found is not None  # noqa: S101  # it was created, or another was there
        return found

    def published(self) -> tuple[Predictions, str] | None:
        """The manifest and its digest, where the run was finished."""
        try:
            data = self._store.read(f"{self._folder}/{MANIFEST_FILE}")
        except NotFound:
            return None
        return Predictions.model_validate_json(data), f"sha256:{hashlib.sha256(data).hexdigest()}"

    @property
    def columns(self) -> dict[str, str]:
        """Types of the columns by name, of a part that was written or read."""
        return self._columns

    def _note(self, place: Place, data: bytes) -> None:
        try:
            made, rows = made_of(data)
        except BadData as error:
            raise BadData(f"{URI_SCHEME}{self._folder}/{_name(place)}: {error.message}; remove it and run again") from error
        self._columns = self._columns or dict(schema_of(data))
        self._made[place.file, place.number] = Part(
            path=_name(place),
            source=made.source,
            first_row=made.place.first,
            rows=rows,
            bytes=len(data),
            sha256=f"sha256:{hashlib.sha256(data).hexdigest()}",
            engine=made.engine,
        )


def predictions_of(
    plan: Plan, parts: Sequence[Part], digests: dict[str, str], columns: dict[str, str], classes: Sequence[str]
) -> Predictions:
    """The manifest of a run whose parts are all there."""
    inputs = [InputFile(uri=plan.uri(file), bytes=file.bytes, sha256=digests[file.path]) for file in plan.files]
    asked = plan.asked
    return Predictions(
        created_at=datetime.now(UTC),
        model=plan.model,
        dataset=plan.dataset,
        split=getattr(asked.input, "split", None),
        inputs=inputs,
        input_digest=f"sha256:{hashlib.sha256(chr(10).join(file.sha256 for file in inputs).encode()).hexdigest()}",
        rows=sum(part.rows for part in parts),
        columns=columns,
        classes=list(classes) or None,
        keep=asked.keep,
        parts=list(parts),
    )


def _name(place: Place) -> str:
    return f"part-{place.file:05}-{place.number:06}.parquet"


def _json(predictions: Predictions) -> bytes:
    return predictions.model_dump_json(by_alias=True, exclude_none=True, indent=1).encode()
