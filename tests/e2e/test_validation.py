"""What the API server refuses at once, and the sentence that the user gets; what it fills in and lets change.

The rules are in the CRDs, so nothing here needs the operator: most cases are dry runs.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from kube import KubectlError, Namespace
from objects import Object, dataset, inference_service, training_job, windlass

LONG_NAME = "a" * 41


@dataclass(frozen=True)
class Refused:
    """An object that must not get in, and words of the answer."""

    item: Object
    says: tuple[str, ...]


def job(**trained: Any) -> Object:
    """A TrainingJob of that model."""
    return windlass("TrainingJob", "x", {"dataset": {"name": "x"}, "model": {"name": "x", **trained}})


def served(**model: Any) -> Object:
    """An InferenceService of that model."""
    return windlass("InferenceService", "x", {"model": {"name": "x", **model}})


REFUSED = {
    "a Dataset without a source": Refused(windlass("Dataset", "x", {}), ("spec.source: Required value",)),
    "a source outside the store": Refused(
        dataset(uri="/data/digits.csv"),
        ("spec.source.uri", "a source begins with store://, for example store://raw/digits.csv"),
    ),
    "a format that cannot be read": Refused(
        dataset(source={"uri": "store://raw/x.xls", "format": "xls"}),
        ("spec.source.format", 'supported values: "auto", "csv", "json", "parquet"'),
    ),
    "shares that leave nothing for training": Refused(
        dataset(split={"validation": 0.5, "test": 0.4}),
        ("leave less than a fifth of the rows for training; lower them",),
    ),
    "a share above a half": Refused(dataset(split={"test": 0.6}), ("spec.split.test", "should be less than or equal to 0.5")),
    "a task without a label": Refused(
        dataset(label=None, task="regression"), ("task says what the label is, so it needs label",)
    ),
    "a step that says two things": Refused(
        dataset(steps=[{"drop": {"columns": ["a"]}, "scale": {"method": "none"}}]),
        ("spec.steps[0]", "a step has exactly one of drop, scale and encode"),
    ),
    "a step that says nothing": Refused(dataset(steps=[{}]), ("a step has exactly one of drop, scale and encode",)),
    "a step that drops no column": Refused(dataset(steps=[{"drop": {"columns": []}}]), ("spec.steps[0].drop.columns",)),
    "a field that does not exist": Refused(dataset(lable="digit"), ('unknown field "spec.lable"',)),
    "memory that is no quantity": Refused(
        dataset(resources={"memory": "2 GB"}), ("spec.resources.memory", "for example 512Mi or 4Gi")
    ),
    "less than no CPU": Refused(dataset(resources={"cpu": -1}), ("spec.resources.cpu", "cpu is a number of cores")),
    "thousandths of a byte": Refused(
        dataset(resources={"memory": "512m"}), ("spec.resources.memory", "memory is a number of bytes")
    ),
    "a deadline after the end of all dates": Refused(
        training_job(stop={"deadlineSeconds": 10**12}), ("spec.stop.deadlineSeconds", "less than or equal to 2147483647")
    ),
    "a name that no pod can have": Refused(dataset(LONG_NAME), ("metadata.name has at most 40 characters and no dot",)),
    "a name with a dot": Refused(training_job("v1.2"), ("metadata.name has at most 40 characters and no dot",)),
    "a recipe that does not exist": Refused(
        job(recipe="transformer"), ("spec.model.recipe", 'supported values: "linear", "logistic", "mlp", "cnn"')
    ),
    "a run without a recipe": Refused(job(), ("spec.model.recipe: Required value",)),
    "hidden layers in a linear model": Refused(
        job(recipe="linear", parameters={"hidden": [8]}), ("hidden and parameters.dropout belong to the recipes mlp and cnn",)
    ),
    "channels outside a cnn": Refused(
        job(recipe="mlp", parameters={"channels": [8]}), ("parameters.channels and parameters.image belong to the recipe cnn",)
    ),
    "an image of two sides": Refused(job(recipe="cnn", parameters={"image": [8, 8]}), ("spec.model.parameters.image",)),
    "momentum without sgd": Refused(
        job(recipe="mlp", parameters={"momentum": 0.9}), ("parameters.momentum belongs to optimizer sgd",)
    ),
    "a learning rate of nothing": Refused(
        job(recipe="mlp", parameters={"learningRate": 0}), ("spec.model.parameters.learningRate", "should be greater than 0")
    ),
    "a reference to a name that cannot be": Refused(
        training_job(data="My Data"), ("spec.dataset.name", "a name has small letters, digits and hyphens")
    ),
    "no workers": Refused(training_job(workers=0), ("spec.workers", "should be greater than or equal to 1")),
    "workers in words": Refused(training_job(workers="two"), ("spec.workers", "integer")),  # type: ignore[arg-type]
    "GPUs without a count": Refused(training_job(resources={"gpu": {}}), ("spec.resources.gpu.count: Required value",)),
    "a service of no version": Refused(served(), ("give exactly one of model.alias and model.version",)),
    "a service of an alias and a version": Refused(
        served(alias="production", version=1), ("give exactly one of model.alias and model.version",)
    ),
    "more pods at the least than at the most": Refused(
        inference_service(replicas={"min": 4}), ("spec.replicas", "replicas.min is larger than replicas.max, which is 3")
    ),
    "a service whose name no Service can have": Refused(
        inference_service("9digits"),
        ("metadata.name begins with a letter, because the Service",),
    ),
    "an engine that does not exist": Refused(
        inference_service(engine="tensorrt"), ("spec.engine", 'supported values: "auto", "onnxruntime", "openvino", "torch"')
    ),
    "a GPU for an engine that has no use for it": Refused(
        inference_service(engine="openvino", resources={"gpu": {"count": 1}}), ("resources.gpu needs engine torch or auto",)
    ),
    "a loss beyond a half": Refused(inference_service(allowedLoss=0.6), ("spec.allowedLoss", "less than or equal to 0.5")),
    "an objective without a unit": Refused(
        inference_service(slo={"p99": "50"}), ("spec.slo.p99", "a duration is a whole number with its unit")
    ),
    "a batch of nothing": Refused(inference_service(batch={"max": 0}), ("spec.batch.max",)),
    "a cache that is no quantity": Refused(inference_service(cache="a lot"), ("spec.cache", "memory is a number of bytes")),
    "a variable that Windlass sets": Refused(
        inference_service(env=[{"name": "AWS_REGION", "value": "x"}]), ("env may not set WINDLASS_*, AWS_*",)
    ),
    "a variable twice": Refused(
        inference_service(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), ("spec.env[1]", "Duplicate value")
    ),
    "an alias of version zero": Refused(
        windlass("Model", "x", {"aliases": [{"name": "production", "version": 0}]}), ("spec.aliases[0].version",)
    ),
    "an alias twice": Refused(
        windlass("Model", "x", {"aliases": [{"name": "a", "version": 1}, {"name": "a", "version": 2}]}),
        ("spec.aliases[1]", "Duplicate value"),
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_the_api_server_refuses(case: Refused, module_namespace: Namespace) -> None:
    with pytest.raises(KubectlError) as refusal:
        module_namespace.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(case.item))
    for words in case.says:
        assert words in str(refusal.value)


@dataclass(frozen=True)
class Filled:
    """An object as a user writes it, and what stands in its spec afterwards."""

    item: Object
    spec: Object = field(default_factory=dict)


FILLED = {
    "the split of a Dataset": Filled(dataset(), {"split": {"validation": 0.1, "test": 0.1, "seed": 0}}),
    "what a step leaves open": Filled(
        dataset(steps=[{"encode": {}}]), {"steps": [{"encode": {"method": "oneHot", "unknown": "error"}}]}
    ),
    "the rest of an object that was begun": Filled(
        training_job(checkpoint={"every": 10}), {"checkpoint": {"every": 10, "keep": 3}, "restarts": {"max": 3}, "workers": 1}
    ),
    "the replicas of a service": Filled(inference_service(), {"replicas": {"min": 1, "max": 3}}),
    "numbers as quantities": Filled(dataset(resources={"cpu": 2, "memory": "1Gi"}), {"resources": {"cpu": 2, "memory": "1Gi"}}),
    "a Model of nothing": Filled({"apiVersion": "windlass.dev/v1alpha1", "kind": "Model", "metadata": {"name": "x"}}, {}),
}


@pytest.mark.parametrize("case", FILLED.values(), ids=FILLED.keys())
def test_the_api_server_fills_in(case: Filled, module_namespace: Namespace) -> None:
    text = module_namespace.kubectl("apply", "--dry-run=server", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump(case.item))
    spec = yaml.safe_load(text)["spec"]
    assert {name: spec.get(name) for name in case.spec} == case.spec


def test_a_run_cannot_be_edited(module_namespace: Namespace) -> None:
    module_namespace.apply(training_job("fixed", data="none-such", resources={"cpu": 1}))
    module_namespace.apply(training_job("fixed", data="none-such", resources={"cpu": 1}))  # the same again is no edit
    with pytest.raises(KubectlError, match="a TrainingJob is one run and cannot be edited; make another one"):
        module_namespace.apply(training_job("fixed", data="none-such", workers=2))


def test_a_service_is_scaled_as_kubectl_does_it(module_namespace: Namespace) -> None:
    module_namespace.apply(inference_service("scaled", model="none-such"))
    module_namespace.kubectl("scale", "inferenceservice/scaled", "--replicas=2")
    found = module_namespace.get("inferenceservice", "scaled")
    assert found is not None
    assert found["spec"]["replicas"] == {"min": 2, "max": 3}
    with pytest.raises(KubectlError, match=r"replicas\.min is larger than replicas\.max"):
        module_namespace.kubectl("scale", "inferenceservice/scaled", "--replicas=4")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dataset.spec.source.uri", "a glob in the store: store://raw/digits.csv"),
        ("trainingjob.spec", "Pods that train together, each with its share of every batch."),
        ("trainingjob.spec.model.recipe", "cnn: convolutions"),
        ("model.spec.aliases", "Version it stands for; editing it is promotion, and rollback."),
        ("inferenceservice.status.replicas", "Pods that answered a real inference"),
    ],
    ids=lambda words: words.partition(" ")[0],
)
def test_explain_reads_like_documentation(path: str, sentence: str, module_namespace: Namespace) -> None:
    assert sentence in " ".join(module_namespace.kubectl("explain", path).split())


@pytest.mark.parametrize("short", ["wds", "wtj", "wm", "wisvc", "windlass"])
def test_short_names_and_the_category_are_known(short: str, module_namespace: Namespace) -> None:
    module_namespace.kubectl("get", short)
