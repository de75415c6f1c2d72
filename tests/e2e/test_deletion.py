"""Deleting an object removes what was made for it, and nothing else."""

from kube import Namespace, Upload, children, eventually
from objects import dataset, inference_service, training_job


def test_delete_of_each_kind_leaves_no_orphan_and_a_model_outlives_its_job(
    namespace: Namespace, upload: Upload, digits_csv: bytes
) -> None:
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(stop={"epochs": 3}), inference_service())
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=180)

    namespace.delete("trainingjob", "digits")
    eventually(lambda: not [name for name in children(namespace) if "train-" in name], seconds=60, what="the end of the run")
    assert namespace.get("model", "digits") is not None

    namespace.delete("dataset", "digits")
    eventually(
        lambda: not [name for name in children(namespace) if "dataset-" in name], seconds=60, what="the end of the data's job"
    )
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=10)

    namespace.delete("inferenceservice", "digits")
    eventually(lambda: children(namespace) == [], seconds=90, what="an empty namespace")

    assert namespace.get("secret", "windlass-store") is not None, "an object is left"
    namespace.delete("model", "digits")
    assert namespace.get("model", "digits") is None
    eventually(lambda: namespace.get("secret", "windlass-store") is None, seconds=60, what="a namespace without the Secret")


def test_a_run_deleted_while_it_trains_ends_at_once(namespace: Namespace, upload: Upload, digits_csv: bytes) -> None:
    upload(namespace, "digits.csv", digits_csv)
    namespace.apply(dataset(), training_job(workers=2, stop={"epochs": 2000}))
    namespace.wait_reason("trainingjob", "digits", "Succeeded", "Running", seconds=120)
    namespace.delete("trainingjob", "digits")
    eventually(lambda: not [name for name in children(namespace) if "train-" in name], seconds=90, what="the end of the run")
    assert namespace.get("model", "digits") is None
