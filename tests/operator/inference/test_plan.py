"""What an InferenceService needs next, as a table."""

from dataclasses import replace
from typing import Any

import builders as b
import pytest
from service_views import MODEL, children, planned, seen, server, template

from windlass_core.contracts import RUN_SPEC_VARIABLE, InferServe, Progress
from windlass_core.resources import InferenceServiceStatus
from windlass_operator.api import AUTOSCALER, DEPLOYMENT, Kind, Manifest
from windlass_operator.inference.plan import CHILD_KINDS, SCALE_MANAGER, plan_inference_service
from windlass_operator.plan import Apply, Patch, Plan

OK = b.running(ready=True)


@pytest.mark.parametrize(
    ("model", "wanted", "reason", "says"),
    [
        pytest.param(None, {"alias": "production"}, "WaitingForModel", "digits does not exist yet", id="there is no Model"),
        pytest.param(b.model(versions=[1]), {"alias": "production"}, "WaitingForAlias", "no alias production", id="no alias"),
        pytest.param(MODEL, {"version": 7}, "WaitingForVersion", "no version 7; it has 2, 1", id="no such version"),
        pytest.param(
            b.model(aliases={"production": 1}),
            {"alias": "production"},
            "WaitingForVersion",
            "none yet",
            id="the alias is there before its version",
        ),
    ],
)
def test_it_waits_and_makes_nothing_when(model: Manifest | None, wanted: Manifest, reason: str, says: str) -> None:
    manifest = b.inference_service(model={"name": "digits", **wanted})
    plan, _, told = planned(seen(manifest, model=model, children={}))
    assert told["Ready"][:2] == ("False", reason)
    assert says in told["Ready"][2]
    assert told["Available"][:2] == ("False", "NoPodsReady")
    assert plan.actions == ()


@pytest.mark.parametrize(
    ("minimum", "scales"),
    [
        pytest.param(1, 0, id="one pod is what a new Deployment has"),
        pytest.param(3, 1, id="more pods are asked for at once, under another name"),
    ],
)
def test_all_children_are_made_and_the_number_of_pods_is_never_applied(minimum: int, scales: int) -> None:
    manifest = b.inference_service(replicas={"min": minimum, "max": 5})
    plan, _, told = planned(seen(manifest, children={}))
    applied = [action for action in plan.actions if isinstance(action, Apply)]
    assert [action.kind for action in applied] == list(CHILD_KINDS)
    assert all(action.manifest["metadata"]["name"] == "digits" for action in applied)
    assert "replicas" not in applied[0].manifest["spec"]
    patches = [action for action in plan.actions if isinstance(action, Patch)]
    assert [(patch.manager, patch.patch) for patch in patches] == [(SCALE_MANAGER, {"spec": {"replicas": minimum}})] * scales
    assert told["Ready"][1] == "Starting"


def test_the_same_look_twice_writes_nothing() -> None:
    manifest = b.inference_service()
    plan, *_ = planned(seen(manifest, server("a", 2, **b.running(ready=True))))
    assert plan.actions == ()


def run_of(**spec: Any) -> InferServe:
    """What the pod is told."""
    pod = template(b.inference_service(**spec), 2)
    told = next(entry["value"] for entry in pod["spec"]["containers"][0]["env"] if entry["name"] == RUN_SPEC_VARIABLE)
    return InferServe.model_validate_json(told)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param({}, {"engine": "auto", "loss": None, "cache_bytes": 0, "processes": 1}, id="nothing is asked for"),
        pytest.param({"engine": "openvino", "allowedLoss": 0.01}, {"engine": "openvino", "loss": 0.01}, id="engine and loss"),
        pytest.param({"slo": {"p99": "50ms"}}, {"slo_p99_seconds": 0.05}, id="an objective in milliseconds"),
        pytest.param({"slo": {"p99": "2s"}}, {"slo_p99_seconds": 2.0}, id="an objective in seconds"),
        pytest.param({"batch": {"max": 16}}, {"max_batch_rows": 16}, id="the largest batch"),
        pytest.param({"cache": "64Mi"}, {"cache_bytes": 64 * 2**20}, id="a cache"),
        pytest.param({"resources": {"cpu": "2500m"}}, {"processes": 2}, id="a process for each whole core"),
    ],
)
def test_the_pod_is_told_when(spec: Manifest, told: dict[str, Any]) -> None:
    assert run_of(**spec).model_dump(include=set(told)) == told


def test_variables_of_the_user_come_after_ours() -> None:
    variables = template(b.inference_service(env=[{"name": "LEVEL", "value": "7"}]), 2)["spec"]["containers"][0]["env"]
    assert variables[-1] == {"name": "LEVEL", "value": "7"}


def test_one_pod_is_asked_what_runs_the_model_and_then_nobody() -> None:
    manifest = b.inference_service()

    def after(before: Manifest, engine: str | None) -> tuple[Plan, InferenceServiceStatus]:
        told = Progress(phase="Serving", engine=engine, at=b.CONTEXT.now) if engine else None
        view = seen({**manifest, "status": before}, server("a", 2, **b.running(ready=True, address="10.0.0.7")))
        return planned(view, told)[:2]

    plan, first = after({}, "left over from an old pod")
    assert (first.engine, plan.endpoint) == (None, "10.0.0.7"), "an answer from before the revision was seen does not count"
    plan, second = after(first.to_json(), "openvino-bf16")
    assert (second.engine, plan.endpoint) == ("openvino-bf16", None)
    _, third = after(second.to_json(), None)
    assert third.engine == "openvino-bf16"
    _, moved = after({**second.to_json(), "revision": "another"}, None)
    assert moved.engine is None, "another revision may run on another engine"


def test_what_the_autoscaler_did_is_left_alone() -> None:
    manifest = b.inference_service()
    view = seen(manifest, children=children(manifest, replicas=3))
    plan, status, _ = planned(view)
    assert plan.actions == ()
    assert status.replicas is not None
    assert status.replicas.desired == 3


def test_a_moved_alias_changes_the_template_and_nothing_else() -> None:
    manifest = b.inference_service()
    view = seen(manifest, children=children(manifest, version=1))
    plan, status, _ = planned(view)
    (apply,) = plan.actions
    assert isinstance(apply, Apply)
    assert apply.kind is DEPLOYMENT
    assert b.run_spec(apply.manifest)["model"]["version"] == 2
    assert status.model is not None
    assert (status.model.version, status.model.digest) == (2, "sha256:model2")
    live = view.children[DEPLOYMENT]["spec"]
    assert apply.manifest["spec"]["selector"] == live["selector"]


@pytest.mark.parametrize(
    "model", [pytest.param(None, id="is deleted"), pytest.param(b.model(versions=[1]), id="loses the alias")]
)
def test_what_serves_goes_on_serving_when_its_model(model: Manifest | None) -> None:
    plan, _, told = planned(seen(b.inference_service(), server("a", 2, **OK), model=model))
    assert plan.actions == ()
    assert told["Ready"][0] == "False"
    assert told["Ready"][2].endswith("Version 2 still answers.")
    assert told["Available"][0] == "True"


@pytest.mark.parametrize(
    ("kind", "bend"),
    [
        pytest.param(AUTOSCALER, {"maxReplicas": 99}, id="an autoscaler that somebody changed"),
        pytest.param(DEPLOYMENT, {"strategy": {"type": "Recreate"}}, id="a Deployment that somebody changed"),
    ],
)
def test_a_child_is_put_right(kind: Kind, bend: Manifest) -> None:
    manifest = b.inference_service()
    made = children(manifest)
    made[kind] = {**made[kind], "spec": {**made[kind]["spec"], **bend}}
    plan, *_ = planned(seen(manifest, children=made))
    assert [action.kind for action in plan.actions if isinstance(action, Apply)] == [kind]


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in CHILD_KINDS])
def test_a_child_of_that_name_that_is_not_ours_is_not_touched(kind: Kind) -> None:
    manifest = b.inference_service()
    made = children(manifest)
    made[kind] = {**made[kind], "metadata": {**made[kind]["metadata"], "ownerReferences": []}}
    plan, _, told = planned(seen(manifest, children=made))
    assert told["Ready"][:2] == ("False", "NameTaken")
    assert kind.name in told["Ready"][2]
    assert plan.actions == ()


def test_status_names_the_address_and_the_selector() -> None:
    _, status, _ = planned(seen(b.inference_service()))
    assert status.url == "http://digits.team.svc"
    assert status.selector == "windlass.dev/inferenceservice=digits,windlass.dev/uid=digits-uid"


def test_a_spec_older_than_a_rule_is_told_and_not_tried() -> None:
    plan, _, told = planned(seen(b.inference_service(scale={"target": 500}), children={}))
    assert told["Ready"][1] == "InvalidSpec"
    assert "spec.scale.target" in told["Ready"][2]
    assert plan.actions == ()


def test_a_service_that_is_being_deleted_is_left_to_garbage_collection() -> None:
    view = seen(b.inference_service(metadata={"deletionTimestamp": "2026-01-01T12:00:00Z"}), children={})
    assert plan_inference_service(view, b.CONTEXT) == Plan()


def test_a_volume_store_serves_its_own_namespace_only() -> None:
    settings = replace(b.SETTINGS, store=replace(b.STORE, mode="volume"))
    plan = plan_inference_service(seen(b.inference_service(), children={}), replace(b.CONTEXT, settings=settings))
    assert plan.status is not None
    assert plan.status["conditions"][0]["reason"] == "StoreOutOfReach"
