"""One run: from the raw files that a Dataset names to its version in the store.

    wait, copy · read · give each column its type · find the label · split · fit · profile · write · publish

The version belongs to the digests of the source and to what of the spec shapes it, so the same input finds the same version.
Knows no HTTP; `__main__.py` puts it into a pod.
"""

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from windlass_core.contracts import ColumnType, DatasetResult, PreprocessRun, RunResult, RunSpec
from windlass_core.errors import BadConfiguration
from windlass_core.manifests import ColumnDescription, DatasetContent, SplitDescription
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.resources.dataset import DatasetSpec
from windlass_core.run import RunContext
from windlass_core.store import URI_SCHEME, Store
from windlass_preprocess import source, steps
from windlass_preprocess.columns import TableColumn, make_typed
from windlass_preprocess.database import Database, on_scratch
from windlass_preprocess.fitting import fit
from windlass_preprocess.labels import LabelColumn, check_label_name, label_of
from windlass_preprocess.limits import Limits
from windlass_preprocess.profile import PROFILE_FILE, categories_of, profile, training_moments
from windlass_preprocess.raw_table import RawTable
from windlass_preprocess.reading import read
from windlass_preprocess.source import SourceFile
from windlass_preprocess.splitting import TEST, TRAIN, VALIDATION, assign
from windlass_preprocess.steps import Encoded, Scaled
from windlass_preprocess.transform import TRANSFORM_FILE, Transform
from windlass_preprocess.writing import write_preview, write_split

# Part of what a version belongs to: raised when a release makes something else of the same input.
PIPELINE_REVISION = 2
# A oneHot column has a number for each category; an ordinal one may name many more.
MAX_CATEGORIES = {"oneHot": 1000, "ordinal": 100_000}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What stands in the database once columns have their types and rows their splits."""

    raw: RawTable
    columns: tuple[TableColumn, ...]
    label: LabelColumn | None

    @property
    def features(self) -> list[TableColumn]:
        """The columns without the label."""
        return [column for column in self.columns if self.label is None or column != self.label.column]


def execute(run: RunSpec, context: RunContext) -> RunResult:
    """Do what a pod's spec says, with the store and the limits of the pod.

    Raises:
        BadConfiguration: the spec is of another kind of run.
        WindlassError: see `prepare`.
    """
    if not isinstance(run, PreprocessRun):
        raise BadConfiguration(f"a run of kind {run.kind} was given to windlass-preprocess")
    return prepare(run, context, Store.open(run.namespace), Limits.of_this_container())


def prepare(
    run: PreprocessRun, context: RunContext, store: Store, limits: Limits, *, wait_seconds: float = source.WAIT_SECONDS
) -> RunResult:
    """Make the version, or find it made.

    Raises:
        NotFound: the source did not appear in `wait_seconds` (reason SourceNotFound).
        BadData: the data is not what the spec says; the message names file, row and column where there is one.
        BadConfiguration: the spec asks for what cannot be.
        Stopped: the run was asked to stop.
        Unavailable: the store does not answer.
    """
    started = time.monotonic()
    registry = Registry(store, "datasets")
    with tempfile.TemporaryDirectory(prefix="windlass-") as scratch:
        folder = Path(scratch)
        files, format_ = _copy_source(run.spec, context, store, folder / "source", wait_seconds)
        owner = owner_of(run.spec, files)
        if (found := registry.find(run.name, owner)) is not None:
            log.info("the version was made before", extra={"version": found.reference.version})
            return _result(found, "the same source and spec were prepared before")
        with Database(folder, limits, context.stop_requested, working=_telling(context)) as database:
            context.progress.update(phase="Reading", message=f"reads {len(files)} file{'s' * (len(files) > 1)}")
            raw = read(database, files, format_)
            context.progress.update(phase="Fitting", message="", rows=raw.rows)
            prepared = _type_columns(database, run.spec, raw)
            with on_scratch():
                content = _write(database, run.spec, context, prepared, files, folder / "version")
        context.check_stop()
        context.progress.update(phase="Publishing", message="", rows=raw.rows)
        version = registry.claim(run.name, owner)
        published = registry.publish(run.name, version, owner=owner, folder=folder / "version", content=content)
    seconds = round(time.monotonic() - started, 3)
    log.info("published", extra={"version": version, "rows": content.rows, "seconds": seconds})
    return _result(published, f"prepared {content.rows:,} rows in {seconds:.1f} s")


def owner_of(spec: DatasetSpec, files: Sequence[SourceFile]) -> str:
    """What a version belongs to: sha256 of the source's digests and of the spec without what only changes the pod."""
    shaping = spec.model_dump(mode="json", by_alias=True, exclude={"resources"})
    parts = {"revision": PIPELINE_REVISION, "files": [[file.path, file.digest] for file in files], "spec": shaping}
    return f"sha256:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}"


def _telling(context: RunContext) -> Callable[[float], None]:
    """What tells how far a query is, where one takes seconds."""
    return lambda percent: context.progress.update(message=f"the current step is {percent:.0f} % done")


def _copy_source(
    spec: DatasetSpec, context: RunContext, store: Store, folder: Path, wait_seconds: float
) -> tuple[list[SourceFile], source.Format]:
    context.progress.update(phase="WaitingForSource")
    entries = source.wait_for(
        store,
        spec.source,
        stop_requested=context.stop_requested,
        waiting=lambda sentence: context.progress.update(message=sentence),
        seconds=wait_seconds,
    )
    format_ = source.format_of(spec.source, entries)
    context.progress.update(phase="Reading", message=f"copies {sum(entry.bytes for entry in entries):,} bytes")
    return source.copy(store, entries, folder, check_stop=context.check_stop), format_


def _type_columns(database: Database, spec: DatasetSpec, raw: RawTable) -> Prepared:
    names = [column.name for column in raw.columns]
    check_label_name(spec, names)
    drop = steps.dropped(spec.steps, names, spec.label)
    categories = set(steps.named_categories(spec.steps))
    if spec.label is not None and spec.task == "classification":
        categories.add(spec.label)
    columns = make_typed(database, raw, drop=drop, categories=categories)
    return Prepared(raw, columns, label_of(database, spec, raw, columns))


def _write(
    database: Database,
    spec: DatasetSpec,
    context: RunContext,
    prepared: Prepared,
    files: Sequence[SourceFile],
    folder: Path,
) -> DatasetContent:
    label = prepared.label
    treatments = steps.treatments(spec.steps, prepared.features)
    stratify = label.column if label is not None and label.task == "classification" else None
    assign(database, spec.split, rows=prepared.raw.rows, stratify=stratify)
    transform = _fit(database, prepared, treatments)
    folder.mkdir()
    (folder / TRANSFORM_FILE).write_bytes(transform.to_json())
    summary = profile(database, prepared.columns, prepared.raw.rows)
    (folder / PROFILE_FILE).write_text(summary.model_dump_json(by_alias=True, exclude_none=True, indent=1), encoding="utf-8")
    return DatasetContent(
        rows=prepared.raw.rows,
        columns=[ColumnDescription(name=one.name, type=one.kind, nullable=one.nullable) for one in prepared.columns],
        label=spec.label,
        task=label.task if label else None,
        classes=list(label.classes) if label and label.classes else None,
        splits=_write_splits(database, context, prepared.columns, folder),
        source=[f"{URI_SCHEME}{file.path}" for file in files],
        source_digests=[file.digest for file in files],
        spec=spec.to_json(),
    )


def _fit(database: Database, prepared: Prepared, treatments: dict[str, steps.Treatment]) -> Transform:
    scaled = [column for column in prepared.features if isinstance(treatments[column.name], Scaled)]
    if prepared.label is not None and prepared.label.task == "regression":
        scaled.append(prepared.label.column)
    categories = {}
    for column in prepared.features:
        if isinstance(treatment := treatments[column.name], Encoded):
            categories[column.name] = categories_of(database, column, at_most=MAX_CATEGORIES[treatment.method])
    return fit(prepared.features, treatments, training_moments(database, scaled), categories, prepared.label)


def _write_splits(
    database: Database, context: RunContext, columns: Sequence[TableColumn], folder: Path
) -> dict[str, SplitDescription]:
    splits: dict[str, SplitDescription] = {}
    previews: dict[str, list[dict[str, object]]] = {}
    rows = 0

    def written(more: int) -> None:
        nonlocal rows
        rows += more
        context.progress.update(rows=rows)

    context.progress.update(phase="Writing", message="", rows=0)
    for which, name in ((TRAIN, "train"), (VALIDATION, "validation"), (TEST, "test")):
        splits[name], previews[name] = write_split(database, columns, which=which, name=name, folder=folder, written=written)
    write_preview(folder, previews)
    return splits


def _result(published: PublishedVersion, message: str) -> RunResult:
    content = published.manifest.dataset
    assert content is not None  # noqa: S101  (the registry of datasets holds nothing else)
    return RunResult(
        outcome="Succeeded",
        reason="Prepared",
        message=message,
        dataset=DatasetResult(
            version=published.reference,
            rows=content.rows,
            column_count=len(content.columns),
            columns=[ColumnType(name=column.name, type=column.type) for column in content.columns],
            task=content.task,
        ),
    )
