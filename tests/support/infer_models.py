"""Small models of every make that the infer service serves: columns, numbers, pictures, text, ids; in a store of one folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from windlass_core.manifests import ModelContent
from windlass_core.registry import PublishedVersion, Registry
from windlass_core.store import Store
from windlass_preprocess.features import CategoricalFeature, ClassLabel, NumericFeature, QuantityLabel
from windlass_preprocess.transform import TRANSFORM_FILE, Transform

MODEL_FILE = "model.onnx"
VOCABULARY = 10

_TYPES = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64, "BYTES": TensorProto.STRING}


@dataclass(frozen=True)
class SmallModel:
    """A program with what its manifest says; `transform` is None for a version of tensors."""

    program: bytes
    content: ModelContent
    transform: Transform | None = None

    def publish(self, store: Store, name: str, folder: Path) -> PublishedVersion:
        """Version 1 of the model `name`; `folder` is empty, for its files."""
        (folder / MODEL_FILE).write_bytes(self.program)
        if self.transform is not None:
            (folder / TRANSFORM_FILE).write_bytes(self.transform.to_json())
        registry = Registry(store, "models")
        number = registry.claim(name, name)
        return registry.publish(name, number, owner=name, folder=folder, content=self.content)


def _model(
    nodes: Sequence[Any], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any], **content: Any
) -> tuple[bytes, ModelContent]:
    """A program whose rows are free, and its manifest. Inputs and outputs are given as (datatype, shape of a row, limits)."""

    def described(tensors: dict[str, Any]) -> list[Any]:
        return [helper.make_tensor_value_info(name, _TYPES[kind], ["rows", *row]) for name, (kind, row, *_) in tensors.items()]

    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "small", described(inputs), described(outputs), weights)
    program = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()

    def manifested(tensors: dict[str, Any]) -> list[Any]:
        return [
            {"name": name, "datatype": kind, "shape": [-1, *(size if isinstance(size, int) else -1 for size in row)]}
            | (limits[0] if limits else {})
            for name, (kind, row, *limits) in tensors.items()
        ]

    manifest = {
        "inputs": manifested(inputs),
        "outputs": manifested(outputs),
        "formats": {"onnx": MODEL_FILE},
        "parameters": 0,
    }
    return bytes(program), ModelContent.model_validate(manifest | content)


def _linear(transform: Transform, width: int) -> SmallModel:
    classes = isinstance(transform.label, ClassLabel)
    output = "probabilities" if classes else "prediction"
    nodes = [helper.make_node("MatMul", ["features", "weights"], ["products" if classes else output])]
    if classes:
        nodes.append(helper.make_node("Softmax", ["products"], [output], axis=1))
    weights = np.resize(np.arange(7, dtype=np.float32) / 7, (transform.feature_count, width))
    program, content = _model(
        nodes,
        {"features": ("FP32", [transform.feature_count])},
        {output: ("FP32", [width])},
        {"weights": weights},
        task="classification" if classes else "regression",
        label=transform.label.column if transform.label else None,
    )
    return SmallModel(program, content, transform)


def small_models() -> dict[str, SmallModel]:
    """One of each make, by name."""
    numbers = [
        NumericFeature(column="a", type="float64", offset=1, scale=2),
        NumericFeature(column="b", type="float64", offset=0, scale=1, fill=0.5),
        NumericFeature(column="c", type="int64", offset=5, scale=1),
    ]
    columns = [
        CategoricalFeature(column="island", type="string", categories=["Biscoe", "Dream"]),
        NumericFeature(column="mass", type="float64", offset=4000, scale=800, fill=4000),
        NumericFeature(column="ringed", type="bool", offset=0, scale=1),
        NumericFeature(column="seen", type="date", offset=14000, scale=100),
        CategoricalFeature(column="year", type="int64", categories=[2007, 2008], unknown="ignore", encoding="ordinal"),
    ]
    return {
        "numbers": _linear(
            Transform(features=numbers, label=QuantityLabel(column="q", type="float64", mean=0, deviation=1)), 1
        ),
        "columns": _linear(Transform(features=columns, label=ClassLabel(column="s", type="string", classes=["é", "b"])), 2),
        "pictures": SmallModel(
            *_model(
                [helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0)],
                {"image": ("FP32", [3, 8, 8])},
                {"means": ("FP32", [3])},
                {},
                image={"mean": [0.5, 0.5, 0.5], "deviation": [0.25, 0.25, 0.25]},
            )
        ),
        "texts": SmallModel(
            *_model(
                [helper.make_node("Identity", ["text"], ["same"])],
                {"text": ("BYTES", [2])},
                {"same": ("BYTES", [2])},
                {},
            )
        ),
        "ids": SmallModel(
            *_model(
                [
                    helper.make_node("Gather", ["table", "ids"], ["vectors"], axis=0),
                    helper.make_node("ReduceMean", ["vectors"], ["mean"], axes=[1], keepdims=0),
                    helper.make_node("Neg", ["mean"], ["opposite"]),
                ],
                {"ids": ("INT64", ["tokens"], {"minimum": 0, "maximum": VOCABULARY - 1})},
                {"mean": ("FP32", [4]), "opposite": ("FP32", [4])},
                {"table": np.arange(4 * VOCABULARY, dtype=np.float32).reshape(VOCABULARY, 4)},
            )
        ),
    }
