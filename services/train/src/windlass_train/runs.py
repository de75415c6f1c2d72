"""The folder of a run in the store: what it is, how its figures went over time, and how it ended.

    runs/<job>/<uid>/run.json                  what the run is; written once, when it first starts
    runs/<job>/<uid>/metrics/<step>.jsonl      points from that step on, one JSON object a line; a part for each checkpoint
    runs/<job>/<uid>/result.json               how it ended
    runs/<job>/<uid>/checkpoints/              see checkpoint.py

An object store cannot append, so points are written in parts. A part is named by its first step, and parts end where
checkpoints are: a run that resumes writes the parts after its checkpoint anew, so no point is there twice. Knows no torch, so
that the API, which reads these folders, stays light.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from windlass_core.contracts import RunResult, TrainRun, VersionReference
from windlass_core.errors import BadData, Conflict, NotFound
from windlass_core.store import Store

ROOT = "runs"
ModelT = TypeVar("ModelT", bound=BaseModel)


class RunModel(BaseModel):
    """Base of what stands in a run's folder."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class RunDescription(RunModel):
    """What a run is."""

    job: str
    uid: str
    dataset: VersionReference
    # Not as the model of it, which refuses what it does not know: an older release must list the runs of a newer one.
    spec: dict[str, Any]
    started_at: datetime


class MetricPoint(RunModel):
    """Figures of a run at one step, of one split."""

    step: int
    epoch: float
    split: Literal["train", "validation"]
    loss: float
    accuracy: float | None = None
    samples_per_second: float | None = None
    at: datetime


class RunFolder:
    """The folder of one run."""

    def __init__(self, store: Store, job: str, uid: str) -> None:
        self._store = store
        self.job = job
        self.uid = uid
        self._path = f"{ROOT}/{job}/{uid}"

    @property
    def checkpoints(self) -> str:
        """Path of the folder of its checkpoints."""
        return f"{self._path}/checkpoints"

    def describe(self, run: TrainRun) -> None:
        """Say what the run is, unless an earlier try has."""
        description = RunDescription(
            job=run.name, uid=run.uid, dataset=run.dataset, spec=run.spec.to_json(), started_at=datetime.now(UTC)
        )
        try:
            self._store.create(f"{self._path}/run.json", description.model_dump_json(by_alias=True, exclude_none=True).encode())
        except Conflict:
            return

    def description(self) -> RunDescription:
        """What the run is. Raises NotFound, and BadData when this release cannot read it."""
        return self._read("run.json", RunDescription)

    def conclude(self, result: RunResult) -> None:
        """Say how the run ended."""
        self._store.write(f"{self._path}/result.json", result.to_json_text().encode())

    def result(self) -> RunResult | None:
        """How the run ended, or None while it has not. Raises BadData when this release cannot read it."""
        try:
            return self._read("result.json", RunResult)
        except NotFound:
            return None

    def write_points(self, points: list[MetricPoint]) -> None:
        """Write a part, replacing the one that begins with the same step."""
        lines = (point.model_dump_json(by_alias=True, exclude_none=True) for point in points)
        self._store.write(self._part_path(points[0].step), ("\n".join(lines) + "\n").encode())

    def drop_points_after(self, step: int) -> None:
        """Remove the parts that begin after `step`: the run goes back to there and will write them anew."""
        self._store.delete([self._part_path(first) for first in self._parts() if first > step])

    def points(self, *, after: int = 0) -> Iterator[MetricPoint]:
        """All points of steps beyond `after`, in order of steps."""
        parts = self._parts()
        for index, first in enumerate(parts):
            if index + 1 < len(parts) and parts[index + 1] <= after:
                continue  # the next part begins within what the caller has
            for line in self._read_part(first).decode().splitlines():
                point = MetricPoint.model_validate_json(line)
                if point.step > after:
                    yield point

    def _read(self, name: str, model: type[ModelT]) -> ModelT:
        path = f"{self._path}/{name}"
        try:
            return model.model_validate_json(self._store.read(path))
        except ValidationError as error:
            raise BadData(f"{path} cannot be read by this release: {error.errors()[0]['msg']}") from error

    def _read_part(self, first_step: int) -> bytes:
        try:
            return self._store.read(self._part_path(first_step))
        except NotFound:
            return b""  # the run has gone back to a checkpoint since the parts were listed

    def _parts(self) -> list[int]:
        entries = self._store.list(f"{self._path}/metrics")
        names = (entry.path.rsplit("/", 1)[-1].removesuffix(".jsonl") for entry in entries)
        return sorted(int(name) for name in names if name.isdecimal())

    def _part_path(self, first_step: int) -> str:
        return f"{self._path}/metrics/{first_step}.jsonl"


def run_folders(store: Store, *, after: tuple[str, str] = ("", "")) -> Iterator[RunFolder]:
    """The folders of the runs of a namespace by job and uid, from behind those of `after` on; costs a request for each job."""
    for job in store.folders(ROOT):
        if job >= after[0]:
            yield from (RunFolder(store, job, uid) for uid in store.folders(f"{ROOT}/{job}") if (job, uid) > after)
