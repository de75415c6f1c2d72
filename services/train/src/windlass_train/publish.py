"""A trained module becomes a Model version: exported and published once.

A version is owned by the uid of its TrainingJob. So whoever publishes second, after a kill between publishing and telling,
finds the version and reports it.
"""

import tempfile
from pathlib import Path

import torch

from windlass_core.contracts import TrainRun
from windlass_core.manifests import ModelContent
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.store import Store
from windlass_preprocess.transform import TRANSFORM_FILE
from windlass_train.data import Data
from windlass_train.export import Exported, Tensors, export, made_with
from windlass_train.objective import INPUT_NAME, Program
from windlass_train.trainer import Trained

# Rows that are stored with a version and served as its example.
KEPT_ROWS = 32


def publish(store: Store, run: TrainRun, data: Data, trained: Trained, metrics: dict[str, float]) -> PublishedVersion:
    """Export and publish; what this TrainingJob has published before is returned as it is."""
    registry = Registry(store, "models")
    name = run.spec.model.name
    earlier = registry.find(name, run.uid)
    if earlier is not None:
        return earlier
    program = Program(data.problem, trained.module)
    number = registry.claim(name, run.uid)
    with tempfile.TemporaryDirectory(prefix="windlass-model-") as scratch:
        folder = Path(scratch)
        compared = {INPUT_NAME: (data.test or data.train).features}
        exported = export(program, compared, [program.output_name], folder, keep=_drawn(data.problem.features))
        (folder / TRANSFORM_FILE).write_bytes(data.transform.to_json())
        content = _content(run, data, trained, metrics, exported)
        return registry.publish(name, number, owner=run.uid, folder=folder, content=content)


def _drawn(features: int) -> Tensors:
    """Rows as the transform makes them, which scales numbers to mean 0 and deviation 1; drawn, so that no data leaves."""
    return {INPUT_NAME: torch.randn(KEPT_ROWS, features, generator=torch.Generator().manual_seed(0))}


def _content(run: TrainRun, data: Data, trained: Trained, metrics: dict[str, float], exported: Exported) -> ModelContent:
    return ModelContent(
        task=data.problem.task,
        recipe=run.spec.model.recipe,
        label=data.problem.label,
        classes=data.classes,
        inputs=exported.inputs,
        outputs=exported.outputs,
        formats=exported.formats,
        omitted=exported.omitted,
        sample=exported.sample,
        metrics=metrics,
        onnx_max_abs_difference=exported.onnx_max_abs_difference,
        parameters=sum(parameter.numel() for parameter in trained.module.parameters()),
        step=trained.step,
        dataset=run.dataset,
        job=run.name,
        job_uid=run.uid,
        spec=run.spec.to_json(),
        made_with=made_with(),
    )
