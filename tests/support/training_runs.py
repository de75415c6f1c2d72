"""Dataset versions and runs for tests of training: real data in a store, published as preprocess publishes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from sklearn.datasets import load_diabetes, load_digits

from windlass_core.contracts import TrainRun, VersionReference
from windlass_core.manifests import ColumnDescription, DatasetContent, SplitDescription
from windlass_core.registry import Registry
from windlass_core.resources.training_job import TrainingJobSpec
from windlass_core.store import Store
from windlass_preprocess.transform import ClassLabel, NumericFeature, QuantityLabel, Transform

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def publish_digits(
    store: Store, folder: Path, *, shares: dict[str, float] | None = None, rows: int | None = None
) -> VersionReference:
    """1,797 images of 8 x 8 pixels, 10 classes."""
    digits = load_digits()
    return publish_table(
        store, folder, "digits", digits.data[:rows], digits.target[:rows], classes=True, shares=shares or SHARES
    )


def publish_diabetes(store: Store, folder: Path) -> VersionReference:
    """442 patients, 10 columns, a quantity."""
    data = load_diabetes(scaled=False)
    return publish_table(store, folder, "diabetes", data.data, data.target, classes=False, shares=SHARES)


def publish_table(
    store: Store,
    folder: Path,
    name: str,
    features: Any,
    labels: Any,
    *,
    classes: bool,
    shares: dict[str, float],
    label: bool = True,
) -> VersionReference:
    """A Dataset version with standardised columns c0, c1, ... and the label y."""
    order = np.random.default_rng(0).permutation(len(labels))
    ends = np.cumsum([round(share * len(labels)) for share in shares.values()])
    parts = dict(zip(shares, np.split(order, ends[:-1]), strict=True))
    train = parts["train"]
    columns = [f"c{index}" for index in range(features.shape[1])]
    splits = {}
    for split, rows in parts.items():
        path = folder / split / "part-00000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = {column: features[rows, index] for index, column in enumerate(columns)} | {"y": labels[rows]}
        pyarrow.parquet.write_table(pyarrow.table(table), path)
        splits[split] = SplitDescription(rows=len(rows), files=[f"{split}/part-00000.parquet"])
    transform = Transform(
        features=[
            NumericFeature(
                column=column, type="float64", offset=features[train, i].mean(), scale=features[train, i].std() or 1.0
            )
            for i, column in enumerate(columns)
        ],
        label=_label(labels, train, classes=classes) if label else None,
    )
    (folder / "transform.json").write_bytes(transform.to_json())
    content = DatasetContent(
        rows=len(labels),
        columns=[ColumnDescription(name=column, type="float64", nullable=False) for column in [*columns, "y"]],
        label="y" if label else None,
        task=("classification" if classes else "regression") if label else None,
        classes=sorted(set(labels.tolist())) if classes and label else None,
        splits=splits,
        source=[f"store://raw/{name}.csv"],
        source_digests=["sha256:" + "0" * 64],
        spec={"source": {"uri": f"store://raw/{name}.csv"}, "label": "y"},
    )
    registry = Registry(store, "datasets")
    number = registry.claim(name, "test")
    return registry.publish(name, number, owner="test", folder=folder, content=content).reference


def _label(labels: Any, train: Any, *, classes: bool) -> ClassLabel | QuantityLabel:
    if classes:
        return ClassLabel(column="y", type="int64", classes=sorted(set(labels.tolist())))
    return QuantityLabel(column="y", type="float64", mean=labels[train].mean(), deviation=labels[train].std())


def training_run(
    dataset: VersionReference, *, uid: str = "uid-1", attempt: int = 1, recipe: str = "mlp", **spec: Any
) -> TrainRun:
    """A run of a recipe; `parameters` and other fields of the spec by their names on the wire."""
    model = {"name": dataset.name, "recipe": recipe, "parameters": spec.pop("parameters", {})}
    return TrainRun(
        namespace="default",
        name=f"train-{dataset.name}",
        uid=uid,
        dataset=dataset,
        spec=TrainingJobSpec.model_validate({"dataset": {"name": dataset.name}, "model": model, **spec}),
        rendezvous_host="127.0.0.1",
        attempt=attempt,
    )
