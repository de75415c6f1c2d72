"""How a finished run adds its version to a Model and moves an alias, one write at a time."""

import builders as b
import pytest
from run_views import COMPLETE, FAILED, PUBLISHED, RUNNING, job, planned, run, seen, worker

from windlass_core.resources import InferenceServiceSpec, TrainingJobStatus
from windlass_core.resources.model import ANSWERS_NOT_FINITE
from windlass_operator import conditions
from windlass_operator.api import MODEL, SERVICE, Manifest
from windlass_operator.inference.image import needs_torch
from windlass_operator.plan import Create, Delete, Patch
from windlass_operator.training.promotion import SERVABLE_FORMATS, hindrance
from windlass_operator.training.publish import MAX_VERSIONS

DONE = [worker(0, status=b.ended(0, PUBLISHED)), worker(1, status=b.running())]


@pytest.mark.parametrize(
    ("listed", "job_status"),
    [
        pytest.param(DONE, {}, id="worker 0 ended, before the Job says anything"),
        pytest.param(DONE[:1], COMPLETE, id="the Job is complete"),
        pytest.param([worker(0, status=b.ended(44, PUBLISHED))], {}, id="worker 0 was stopped after it had published"),
        pytest.param([worker(0, status=b.ended(137, PUBLISHED)), RUNNING[1]], {}, id="worker 0 was killed after it said so"),
        pytest.param([worker(1, status=b.ended(0, PUBLISHED)), RUNNING[0]], {}, id="another worker is the one that knows"),
    ],
)
def test_a_published_version_is_success_when(listed: list[Manifest], job_status: Manifest) -> None:
    manifest = run()
    finished = b.model(versions=[7])
    finished["status"]["versions"][0].update(
        {"job": "run", "jobUid": "run-uid", "datasetVersion": 3, "metrics": {"accuracy": "0.9712"}, "createdAt": b.NOW}
    )
    plan, status, succeeded, reason, message = planned(
        seen(manifest, *listed, job=job(manifest, status=job_status), model=finished)
    )
    assert (succeeded, reason) == ("True", "Published")
    assert status.model is not None
    assert (status.model.version, status.metrics) == (7, {"accuracy": "0.9712"})
    assert message == "Version 7 of Model digits is published."
    assert plan.actions == (Delete(SERVICE, b.NAMESPACE, "train-run", "service-uid"),)


def test_the_model_is_made_without_an_owner_when_there_is_none() -> None:
    plan, _, succeeded, reason, _ = planned(seen(run(), *DONE))
    assert (succeeded, reason, plan.requeue_after) == ("Unknown", "Publishing", 0.0)
    (made,) = plan.actions
    assert isinstance(made, Create)
    assert made.kind is MODEL
    assert "ownerReferences" not in made.manifest["metadata"]


def test_the_version_is_added_beside_those_of_others_only_if_nobody_changed_the_model_meanwhile() -> None:
    other = b.model(versions=[6, 8], metadata={"resourceVersion": "55"})
    plan, *_ = planned(seen(run(), *DONE, model=other))
    (patch,) = plan.actions
    assert isinstance(patch, Patch)
    assert (patch.kind, patch.subresource, patch.resource_version) == (MODEL, "status", "55")
    assert [version["version"] for version in patch.patch["status"]["versions"]] == [8, 7, 6]


ALIASED = {"publish": {"alias": "production"}}


def alias_moved(status: TrainingJobStatus) -> tuple[str, str, str]:
    """What the second condition says: status, reason and message."""
    found = conditions.find(status.conditions, "AliasMoved")
    assert found is not None
    return found.status, found.reason, found.message


def listed_model(aliases: dict[str, int], annotation: str | None = None, **version: object) -> Manifest:
    metadata: Manifest = {"resourceVersion": "56"}
    if annotation is not None:
        metadata["annotations"] = {"windlass.dev/published-production": annotation}
    manifest = b.model(versions=[7], aliases=aliases, metadata=metadata)
    manifest["status"]["versions"][0].update(
        {"job": "run", "jobUid": "run-uid", "datasetVersion": 3, "metrics": {"accuracy": "0.9712"}, "createdAt": b.NOW}
    )
    manifest["status"]["versions"][0].update(version)
    return manifest


@pytest.mark.parametrize(
    ("model", "aliases"),
    [
        pytest.param(listed_model({}), [("production", 7)], id="the alias is new"),
        pytest.param(
            listed_model({"canary": 2, "production": 6}), [("canary", 2), ("production", 7)], id="the others stay as they are"
        ),
        pytest.param(listed_model({"production": 6}, "6"), [("production", 7)], id="an earlier run moved it before"),
    ],
)
def test_the_alias_is_moved_and_noted_in_one_write_when(model: Manifest, aliases: list[tuple[str, int]]) -> None:
    plan, *_ = planned(seen(run(**ALIASED), *DONE, model=model))
    (patch,) = plan.actions
    assert isinstance(patch, Patch)
    assert (patch.subresource, patch.resource_version) == (None, "56")
    assert patch.patch["metadata"]["annotations"] == {"windlass.dev/published-production": "7"}
    assert [(alias["name"], alias["version"]) for alias in patch.patch["spec"]["aliases"]] == aliases


@pytest.mark.parametrize(
    ("model", "moved", "says"),
    [
        pytest.param(listed_model({"production": 7}, "7"), ("True", "Moved"), "moved to version 7", id="it was moved already"),
        pytest.param(
            listed_model({"production": 5}, "7"),
            ("True", "Moved"),
            "was moved to version 7",
            id="it was moved, and rolled back by hand since",
        ),
        pytest.param(
            listed_model({"production": 9}, "9"),
            ("False", "NewerVersionPublished"),
            "moved to version 9 by another run",
            id="a newer version was promoted by another run",
        ),
    ],
)
def test_the_alias_is_left_alone_when(model: Manifest, moved: tuple[str, str], says: str) -> None:
    plan, status, succeeded, reason, message = planned(seen(run(**ALIASED), *DONE, model=model))
    assert (succeeded, reason) == ("True", "Published")
    assert plan.actions == (Delete(SERVICE, b.NAMESPACE, "train-run", "service-uid"),)
    assert alias_moved(status)[:2] == moved
    assert says in alias_moved(status)[2]
    assert says in message
    assert [note.warning for note in plan.notes] == [False]


DISAGREES = {"format": "onnx", "reason": "OnnxDisagrees", "message": "They differ by up to 0.7."}
NO_NUMBERS = {"format": "onnx", "reason": ANSWERS_NOT_FINITE, "message": "Its answers are no finite numbers."}


FULL = range(8, 8 + MAX_VERSIONS)


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        pytest.param(ALIASED, "PublishedWithoutAlias", "production stays where it is", id="with an alias"),
        pytest.param({}, "Published", "No service can load it", id="without an alias"),
    ],
)
def test_a_version_that_came_after_as_many_newer_ones_as_a_model_lists_ends_its_run(
    spec: Manifest, reason: str, says: str
) -> None:
    plan, status, *said = planned(seen(run(**spec), *DONE, model=b.model(versions=FULL)))
    assert plan.actions == (Delete(SERVICE, b.NAMESPACE, "train-run", "service-uid"),), "the Model is not touched"
    assert plan.requeue_after is None
    assert said[:2] == ["True", reason]
    assert says in said[2]
    assert "full of versions newer than 7" in said[2]
    assert status.model is not None
    assert status.model.version == 7


def test_of_a_full_model_the_oldest_version_goes_that_no_alias_stands_for() -> None:
    held = b.model(versions=[1, 2, *FULL][:MAX_VERSIONS], aliases={"production": 1})
    plan, *_ = planned(seen(run(), *DONE, model=held))
    (patch,) = plan.actions
    assert isinstance(patch, Patch)
    listed = [version["version"] for version in patch.patch["status"]["versions"]]
    assert (len(listed), listed[-3:]) == (MAX_VERSIONS, [8, 7, 1])


WEIGHTS, TORCH = ["safetensors"], ["safetensors", "torch.export"]


def without_onnx(*omitted: dict[str, str], formats: list[str]) -> list[Manifest]:
    """A worker that has published a version without ONNX."""
    result = b.model_result(7, formats=formats, omitted=list(omitted))
    return [worker(0, status=b.ended(0, result.to_termination_message())), worker(1, status=b.running())]


def test_a_version_that_no_service_can_load_is_listed_with_the_cause() -> None:
    plan, status, *_ = planned(seen(run(**ALIASED), *without_onnx(DISAGREES, formats=WEIGHTS), model=b.model(versions=[6])))
    (patch,) = plan.actions
    assert isinstance(patch, Patch)
    assert patch.subresource == "status"
    first, second = patch.patch["status"]["versions"]
    assert (first["version"], first["formats"], first["omitted"]) == (7, WEIGHTS, [DISAGREES])
    assert (second["version"], "omitted" in second) == (6, False)
    assert alias_moved(status)[:2] == ("Unknown", "NotPublished")


@pytest.mark.parametrize(
    ("omitted", "formats", "cause", "says"),
    [
        pytest.param((DISAGREES,), WEIGHTS, "OnnxDisagrees", "They differ by up to 0.7.", id="and its run says why"),
        pytest.param(
            (),
            WEIGHTS,
            "NotServable",
            "its run did not say why; train again",
            id="and its run is of a release that says nothing",
        ),
        pytest.param((NO_NUMBERS,), TORCH, "AnswersNotFinite", "no finite numbers", id="because its answers are no numbers"),
    ],
)
def test_the_alias_stays_where_it_is_when_no_service_can_load_the_version(
    omitted: tuple[dict[str, str], ...], formats: list[str], cause: str, says: str
) -> None:
    held = listed_model({"production": 6}, "6", formats=formats, omitted=list(omitted) or None)
    published = without_onnx(*omitted, formats=formats)
    plan, status, succeeded, reason, message = planned(seen(run(**ALIASED), *published, model=held))
    assert plan.actions == (Delete(SERVICE, b.NAMESPACE, "train-run", "service-uid"),), "the Model is not touched"
    assert (succeeded, reason) == ("True", "PublishedWithoutAlias")
    assert status.model is not None
    assert (status.model.version, status.metrics) == (7, {"accuracy": "0.9712"})
    assert alias_moved(status)[:2] == ("False", cause)
    for sentence in (message, alias_moved(status)[2]):
        assert "production stays where it is" in sentence
        assert says in sentence
    assert [(note.reason, note.warning) for note in plan.notes] == [("PublishedWithoutAlias", True)]
    assert says in plan.notes[0].message


def test_a_version_that_no_service_can_load_is_worth_a_warning_without_an_alias_too() -> None:
    held = listed_model({}, formats=WEIGHTS, omitted=[DISAGREES])
    plan, status, succeeded, reason, message = planned(seen(run(), *without_onnx(DISAGREES, formats=WEIGHTS), model=held))
    assert (succeeded, reason) == ("True", "Published")
    assert message == "Version 7 of Model digits is published. No service can load it. They differ by up to 0.7."
    assert [note.warning for note in plan.notes] == [True]
    assert conditions.find(status.conditions, "AliasMoved") is None


def test_a_version_that_only_torch_can_serve_takes_the_alias() -> None:
    published = without_onnx(DISAGREES, formats=TORCH)
    held = listed_model({"production": 6}, "6", formats=TORCH, omitted=[DISAGREES])
    plan, *_ = planned(seen(run(**ALIASED), *published, model=held))
    (patch,) = plan.actions
    assert isinstance(patch, Patch)
    assert patch.patch["spec"]["aliases"] == [{"name": "production", "version": 7}]


@pytest.mark.parametrize(
    ("spec", "aliases"), [(ALIASED, {"production": 7}), ({}, {})], ids=["with an alias", "without an alias"]
)
@pytest.mark.parametrize(
    ("omitted", "why"),
    [((DISAGREES,), "They differ by up to 0.7."), ((), "Its run did not say why.")],
    ids=["whose run says why", "whose run says nothing"],
)
def test_what_only_torch_can_serve_is_said_without_a_warning(
    omitted: tuple[dict[str, str], ...], why: str, spec: Manifest, aliases: dict[str, int]
) -> None:
    held = listed_model(aliases, "7" if aliases else None, formats=TORCH, omitted=list(omitted) or None)
    plan, _, succeeded, reason, message = planned(seen(run(**spec), *without_onnx(*omitted, formats=TORCH), model=held))
    assert (succeeded, reason) == ("True", "Published")
    assert ("Alias production was moved to version 7." in message) is bool(aliases)
    torch = "Only torch can serve it, which takes more memory; a service whose engine is another cannot load it."
    assert message.endswith(f"{torch} {why}")
    assert [note.warning for note in plan.notes] == [False]


@pytest.mark.parametrize("formats", [(), *((name,) for name in sorted(SERVABLE_FORMATS)), ("safetensors",)], ids=str)
def test_an_alias_moves_to_what_the_chosen_image_runs_and_to_nothing_else(formats: tuple[str, ...]) -> None:
    runs = {"infer": {"onnx", "onnx-int8"}, "infer-torch": {"torch.export", "aot-inductor"}}
    chosen = (
        "infer-torch" if needs_torch(InferenceServiceSpec.model_validate(b.inference_service()["spec"]), formats) else "infer"
    )
    assert (hindrance(formats, ()) is None) is bool(runs[chosen].intersection(formats))


@pytest.mark.parametrize(
    ("listed", "job_status", "said"),
    [
        pytest.param(RUNNING, {}, ("Unknown", "NotPublished"), id="is not decided while workers run"),
        pytest.param([worker(0, status=b.ended(41))], FAILED, ("False", "NothingPublished"), id="is False when the run fails"),
    ],
)
def test_whether_the_alias_was_moved(listed: list[Manifest], job_status: Manifest, said: tuple[str, str]) -> None:
    manifest = run(**ALIASED)
    _, status, *_ = planned(seen(manifest, *listed, job=job(manifest, status=job_status)))
    assert alias_moved(status)[:2] == said
