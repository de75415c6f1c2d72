"""The four kinds as a user writes them, for tests: short, with what a test cares for as arguments."""

from typing import Any

Object = dict[str, Any]


def windlass(kind: str, name: str, spec: Object) -> Object:
    """An object of ours."""
    return {"apiVersion": "windlass.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def dataset(name: str = "digits", *, uri: str = "store://raw/digits.csv", label: str | None = "digit", **spec: Any) -> Object:
    """A Dataset."""
    return windlass("Dataset", name, {"source": {"uri": uri}, **({"label": label} if label else {}), **spec})


def training_job(
    name: str = "digits",
    *,
    data: str = "digits",
    model: str = "digits",
    recipe: str = "mlp",
    parameters: Object | None = None,
    workers: int = 1,
    alias: str | None = "production",
    **spec: Any,
) -> Object:
    """A TrainingJob."""
    trained = {"name": model, "recipe": recipe, **({"parameters": parameters} if parameters else {})}
    publish = {"publish": {"alias": alias}} if alias else {}
    return windlass("TrainingJob", name, {"dataset": {"name": data}, "model": trained, "workers": workers, **publish, **spec})


def inference_service(name: str = "digits", *, model: str = "digits", alias: str = "production", **spec: Any) -> Object:
    """An InferenceService that follows an alias."""
    return windlass("InferenceService", name, {"model": {"name": model, "alias": alias}, **spec})
