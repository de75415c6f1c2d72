"""The number of pods follows the load, out and back."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
from kube import Namespace, Upload
from objects import dataset, inference_service, training_job


def test_a_service_scales_out_under_load_and_back(namespace: Namespace, upload: Upload, digits_csv: bytes) -> None:
    upload(namespace, "digits.csv", digits_csv)
    service = inference_service(
        replicas={"min": 1, "max": 2}, scale={"target": 40, "downAfterSeconds": 5}, resources={"cpu": "100m", "memory": "256Mi"}
    )
    namespace.apply(dataset(), training_job(stop={"epochs": 3}), service)
    namespace.wait_condition("inferenceservice", "digits", "Ready", seconds=180)
    body = {"instances": [[0] * 64] * 200}
    stop = Event()

    def load(url: str) -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.is_set():
                client.post(f"{url}/v1/models/digits:predict", json=body)

    with namespace.forward("service/digits") as url, ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(load, url) for _ in range(2)]
        try:
            namespace.wait(
                "inferenceservice", "digits", lambda item: item["status"]["replicas"]["ready"] == 2, seconds=180, what="2 pods"
            )
        finally:
            stop.set()
        assert all(future.exception(timeout=60) is None for future in futures)
    namespace.wait(
        "inferenceservice", "digits", lambda item: item["status"]["replicas"]["ready"] == 1, seconds=180, what="1 pod again"
    )
