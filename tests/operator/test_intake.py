"""Which keys a watch event brings into the queue."""

from typing import Any

import builders as b
import pytest

from windlass_operator.api import (
    AUTOSCALER,
    DATASET,
    DEPLOYMENT,
    INFERENCE_SERVICE,
    JOB,
    MODEL,
    POD,
    SERVICE,
    TRAINING_JOB,
    Key,
    Kind,
    Manifest,
)
from windlass_operator.intake import Intake

DATA = Key("Dataset", b.NAMESPACE, "digits")
RUN = Key("TrainingJob", b.NAMESPACE, "run")
MADE = Key("Model", b.NAMESPACE, "digits")
SERVED = Key("InferenceService", b.NAMESPACE, "digits")


class Keys:
    """Notes what is added."""

    def __init__(self) -> None:
        self.added: list[Key] = []
        self.forgotten: list[Key] = []

    def add(self, key: Key) -> None:
        self.added.append(key)

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)

    def take(self) -> set[Key]:
        taken, self.added = set(self.added), []
        return taken


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def intake(keys: Keys) -> Intake:
    """Has seen a Dataset, a Model, a run that is waiting and a service that follows the Model."""
    made = Intake(keys)
    made.parent(DATASET, None, b.dataset())
    made.parent(MODEL, None, b.model())
    made.parent(TRAINING_JOB, None, b.training_job())
    made.parent(INFERENCE_SERVICE, None, b.inference_service())
    assert keys.take() == {DATA, RUN, MADE, SERVED}
    return made


READY = {"version": 1, "conditions": [b.condition("Ready", "True", "Prepared")]}
ENDED = {"conditions": [b.condition("Succeeded", "True", "Published")]}


@pytest.mark.parametrize(
    ("kind", "event", "body", "keys_added"),
    [
        pytest.param(DATASET, "MODIFIED", b.dataset(metadata={"generation": 2}), {DATA, RUN}, id="a Dataset is edited"),
        pytest.param(DATASET, "MODIFIED", b.dataset(status=READY), {RUN}, id="a Dataset becomes ready: who waits for it"),
        pytest.param(
            DATASET, "MODIFIED", b.dataset(status={"progress": {"phase": "Reading"}}), set(), id="only a Dataset's progress"
        ),
        pytest.param(DATASET, "DELETED", b.dataset(), {DATA, RUN}, id="a Dataset is deleted"),
        pytest.param(MODEL, "MODIFIED", b.model(versions=[1]), {MADE, SERVED, RUN}, id="a Model has a version"),
        pytest.param(MODEL, "MODIFIED", b.model(aliases={"a": 1}), {MADE, SERVED, RUN}, id="an alias is moved"),
        pytest.param(MODEL, "MODIFIED", b.model(latestVersion=1), {MADE}, id="a Model's summary is written"),
        pytest.param(TRAINING_JOB, "MODIFIED", b.training_job(status=ENDED), set(), id="the operator wrote a status"),
        pytest.param(
            TRAINING_JOB, "MODIFIED", b.training_job(metadata={"deletionTimestamp": "x"}), {RUN}, id="a run is being deleted"
        ),
        pytest.param(TRAINING_JOB, "MODIFIED", b.training_job(metadata={"uid": "new"}), {RUN}, id="a run was made anew"),
    ],
)
def test_an_event_on_a_parent(kind: Kind, event: str, body: Manifest, keys_added: set[Key], intake: Intake, keys: Keys) -> None:
    intake.parent(kind, event, body)
    assert keys.take() == keys_added


def test_a_run_that_ended_waits_for_nothing_any_more(intake: Intake, keys: Keys) -> None:
    intake.parent(TRAINING_JOB, "MODIFIED", b.training_job(status=ENDED))
    keys.take()
    intake.parent(DATASET, "MODIFIED", b.dataset(status=READY))
    assert keys.take() == set()


def test_a_service_that_follows_another_model_is_told_of_that_one_only(intake: Intake, keys: Keys) -> None:
    moved = b.inference_service(model={"name": "other", "alias": "production"}, metadata={"generation": 2})
    intake.parent(INFERENCE_SERVICE, "MODIFIED", moved)
    keys.take()
    intake.parent(MODEL, "MODIFIED", b.model(versions=[1]))
    assert SERVED not in keys.take()
    intake.parent(MODEL, "ADDED", b.model("other"))
    assert SERVED in keys.take()


def test_an_object_that_is_gone_is_forgotten(intake: Intake, keys: Keys) -> None:
    intake.parent(TRAINING_JOB, "DELETED", b.training_job())
    assert keys.forgotten == [RUN]


def child(**metadata: Any) -> Manifest:
    labels = {"app.kubernetes.io/managed-by": "windlass", "windlass.dev/inferenceservice": "digits"}
    return {"metadata": {"name": "x", "namespace": b.NAMESPACE, "uid": "x-uid", "labels": labels, **metadata}}


@pytest.mark.parametrize("kind", [POD, JOB, DEPLOYMENT], ids=lambda kind: kind.name)
@pytest.mark.parametrize("event", [None, "ADDED", "MODIFIED", "DELETED"])
def test_every_event_on_a_child_that_tells_something_leads_to_its_owner(
    kind: Kind, event: str | None, intake: Intake, keys: Keys
) -> None:
    intake.child(kind, event, child())
    assert keys.take() == {SERVED}


@pytest.mark.parametrize(
    ("kind", "event", "body", "told"),
    [
        pytest.param(AUTOSCALER, "ADDED", child(generation=1), False, id="the operator made it"),
        pytest.param(AUTOSCALER, "MODIFIED", child(generation=1), False, id="its status changed"),
        pytest.param(AUTOSCALER, "MODIFIED", child(generation=2), True, id="somebody changed it"),
        pytest.param(AUTOSCALER, "DELETED", child(generation=1), True, id="somebody deleted it"),
        pytest.param(SERVICE, "MODIFIED", child(), True, id="a Service changed, which counts no generations"),
    ],
)
def test_a_quiet_child_is_heard_only_when_somebody_meddles(
    kind: Kind, event: str, body: Manifest, told: bool, intake: Intake, keys: Keys
) -> None:
    intake.child(kind, None, child(generation=1) if "generation" in body["metadata"] else child())
    keys.take()
    intake.child(kind, event, body)
    assert keys.take() == ({SERVED} if told else set())


def test_a_child_without_a_label_of_ours_leads_nowhere(intake: Intake, keys: Keys) -> None:
    intake.child(POD, "ADDED", child(labels={}))
    assert keys.take() == set()


def test_the_newest_version_of_every_object_is_remembered(intake: Intake) -> None:
    intake.child(POD, "ADDED", child(resourceVersion="5"))
    intake.child(POD, "MODIFIED", child(resourceVersion="9"))
    assert intake.version(POD, b.NAMESPACE, "x") == "9"
    intake.child(POD, "DELETED", child(resourceVersion="9"))
    assert intake.version(POD, b.NAMESPACE, "x") is None
