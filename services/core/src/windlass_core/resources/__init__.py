"""The four kinds as pydantic models: the one truth from which the chart's CRDs are generated."""

from windlass_core.resources.common import API_GROUP, API_GROUP_VERSION, API_VERSION, Condition
from windlass_core.resources.dataset import DatasetSpec, DatasetStatus
from windlass_core.resources.inference_service import InferenceServiceSpec, InferenceServiceStatus
from windlass_core.resources.model import ModelSpec, ModelStatus
from windlass_core.resources.training_job import TrainingJobSpec, TrainingJobStatus

__all__ = [
    "API_GROUP",
    "API_GROUP_VERSION",
    "API_VERSION",
    "Condition",
    "DatasetSpec",
    "DatasetStatus",
    "InferenceServiceSpec",
    "InferenceServiceStatus",
    "ModelSpec",
    "ModelStatus",
    "TrainingJobSpec",
    "TrainingJobStatus",
]
