"""Publishes any torch module as a tensor version: a Model version that is asked by its tensors, without a Dataset or a run.

Exported, compared and numbered as the versions that TrainingJobs publish.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from windlass_core.errors import BadData
from windlass_core.manifests import ImageDescription, ModelContent, TensorDescription
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.store import Store
from windlass_train.export import Tensors, export, made_with

Limits = tuple[float | None, float | None]


def publish_tensor_version(
    store: Store,
    name: str,
    module: nn.Module,
    inputs: Tensors,
    outputs: Sequence[str],
    *,
    owner: str,
    metrics: Mapping[str, float] | None = None,
    limits: Mapping[str, Limits] | None = None,
    image: ImageDescription | None = None,
    ahead: bool = False,
) -> PublishedVersion:
    """Make a version of the model `name` from a module; what `owner` has published before is returned as it is.

    Args:
        store: of the namespace that the model belongs to.
        name: of the Model.
        module: on the CPU; takes tensors whose dimension 0 is the rows and gives one such tensor, or a tuple of them.
        inputs: example inputs by name, in the order of the module's parameters, all with the same number of rows. ONNX is
            compared with torch on them, engines are measured and compared on them, and they are stored with the version.
        outputs: names of what the module gives, in order.
        owner: what the version is made for; the same owner never gets two.
        metrics: figures to show with the version.
        limits: the smallest and the largest value of inputs by name, None for no bound. A request beyond them is refused before
            the program runs, which might fail on it: indices of an embedding, for example.
        image: how pictures are scaled, where the module's one input is of pictures.
        ahead: whether the module is compiled for CPUs like this one as well, which takes minutes and needs g++.

    Raises:
        BadData: the example inputs do not have the same number of rows, at least one, or a limit is of an input that is none.
        Conflict: too many publishers of this model at once.
        Unavailable: the store does not answer.
        torch.export's errors: the module cannot be captured whole.
    """
    rows = {tensor.shape[0] if tensor.ndim else 0 for tensor in inputs.values()}
    if len(rows) != 1 or not min(rows):
        raise BadData("the example inputs must all have the same number of rows, dimension 0, and at least one row")
    if unknown := set(limits or {}) - set(inputs):
        raise BadData(f"there are limits of '{min(unknown)}', which is none of the inputs")
    registry = Registry(store, "models")
    if earlier := registry.find(name, owner):
        return earlier
    number = registry.claim(name, owner)
    with tempfile.TemporaryDirectory(prefix="windlass-model-") as scratch:
        folder = Path(scratch)
        exported = export(module, inputs, outputs, folder, keep=inputs, ahead=ahead)
        content = ModelContent(
            inputs=[_limited(described, (limits or {}).get(described.name, (None, None))) for described in exported.inputs],
            outputs=exported.outputs,
            formats=exported.formats,
            omitted=exported.omitted,
            sample=exported.sample,
            metrics=dict(metrics or {}),
            image=image,
            onnx_max_abs_difference=exported.onnx_max_abs_difference,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            made_with=made_with(),
        )
        return registry.publish(name, number, owner=owner, folder=folder, content=content)


def _limited(described: TensorDescription, limits: Limits) -> TensorDescription:
    return described.model_copy(update={"minimum": limits[0], "maximum": limits[1]})
