"""How a finished run adds its version to a Model and moves an alias, one write at a time."""

import builders as b
import pytest
from run_views import COMPLETE, PUBLISHED, RUNNING, job, planned, run, seen, worker

from windlass_operator.api import MODEL, SERVICE, Manifest
from windlass_operator.plan import Create, Delete, Patch

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


def listed_model(aliases: dict[str, int], annotation: str | None = None) -> Manifest:
    metadata: Manifest = {"resourceVersion": "56"}
    if annotation is not None:
        metadata["annotations"] = {"windlass.dev/published-production": annotation}
    manifest = b.model(versions=[7], aliases=aliases, metadata=metadata)
    manifest["status"]["versions"][0].update(
        {"job": "run", "jobUid": "run-uid", "datasetVersion": 3, "metrics": {"accuracy": "0.9712"}, "createdAt": b.NOW}
    )
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
    "model",
    [
        pytest.param(listed_model({"production": 7}, "7"), id="it was moved already"),
        pytest.param(listed_model({"production": 5}, "7"), id="it was moved, and rolled back by hand since"),
        pytest.param(listed_model({"production": 9}, "9"), id="a newer version was promoted by another run"),
    ],
)
def test_the_alias_is_left_alone_when(model: Manifest) -> None:
    _, _, succeeded, reason, _ = planned(seen(run(**ALIASED), *DONE, model=model))
    assert (succeeded, reason) == ("True", "Published")
