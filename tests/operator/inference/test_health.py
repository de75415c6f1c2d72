"""When an InferenceService may call itself ready, and what it says until then, as a table."""

import builders as b
import pytest
from service_views import children, planned, seen, server

from windlass_core.contracts import Progress
from windlass_operator.api import Manifest
from windlass_operator.inference.health import WAITING_FOR_STORE

TWO_OR_MORE = {"replicas": {"min": 2, "max": 3}}
OK = b.running(ready=True)
LOADING = b.running()
BROKEN = b.waiting(
    "CrashLoopBackOff", ended_before=b.terminated(41, b.failed_result("DigestMismatch", "Bytes are not those published."))
)


@pytest.mark.parametrize(
    ("spec", "listed", "ready", "reason", "says", "available"),
    [
        pytest.param({}, [], "False", "Starting", "version 2", "False", id="no pod is there yet"),
        pytest.param({}, [server("a", 2, **LOADING)], "False", "Starting", "version 2", "False", id="the pod still loads"),
        pytest.param({}, [server("a", 2, **OK)], "True", "Serving", "Version 2 answers.", "True", id="the pod answers"),
        pytest.param(TWO_OR_MORE, [server("a", 2, **OK)], "False", "Scaling", "1 of 2 pods", "True", id="too few pods answer"),
        pytest.param(
            {},
            [server("a", 1, **OK), server("b", 2, **LOADING)],
            "False",
            "RollingOut",
            "Version 2 is being rolled out. Version 1 still answers.",
            "True",
            id="the old version answers while the new one loads",
        ),
        pytest.param(
            {},
            [server("a", 1, **OK), server("b", 2, **OK)],
            "False",
            "RollingOut",
            "Version 1 still answers.",
            "True",
            id="the new version answers and the old one still does too",
        ),
        pytest.param(
            {},
            [server("a", 1, deleting=True, **OK), server("b", 2, **OK)],
            "True",
            "Serving",
            "Version 2 answers.",
            "True",
            id="the old pod is leaving and takes no new requests",
        ),
        pytest.param(
            {},
            [server("a", 1, **OK), server("b", 2, **BROKEN)],
            "False",
            "ModelLoadFailed",
            "Version 2 does not load: Bytes are not those published. Version 1 still answers.",
            "True",
            id="the new version fails to load and the old one serves on",
        ),
        pytest.param({}, [server("a", 2, **BROKEN)], "False", "ModelLoadFailed", "does not load", "False", id="none answers"),
        pytest.param(
            {},
            [server("a", 2, **b.waiting("CrashLoopBackOff", ended_before=b.terminated(137, reason="OOMKilled")))],
            "False",
            "OutOfMemory",
            "spec.resources.memory",
            "False",
            id="memory is too small, which is not the model's fault",
        ),
        pytest.param(
            {},
            [server("a", 2, **b.unschedulable("0/1 nodes are available: 1 Insufficient cpu."))],
            "False",
            "Unschedulable",
            "cpu on 1 of them",
            "False",
            id="no node has room",
        ),
        pytest.param(
            {},
            [server("a", 2, **b.waiting("ErrImagePull", "denied"))],
            "False",
            "ImagePullFailed",
            "denied",
            "False",
            id="no image",
        ),
    ],
)
def test_it_is_ready_only_when_what_is_asked_for_is_all_that_answers(
    spec: Manifest, listed: list[Manifest], ready: str, reason: str, says: str, available: str
) -> None:
    _, _, told = planned(seen(b.inference_service(**spec), *listed))
    assert told["Ready"][:2] == (ready, reason)
    assert says in told["Ready"][2]
    assert told["Available"][0] == available


def test_a_container_that_is_started_again_after_it_failed_is_still_failing() -> None:
    again = {**b.running(), "containerStatuses": [{"state": {"running": {}}, "lastState": b.terminated(41), "restartCount": 3}]}
    _, _, told = planned(seen(b.inference_service(), server("a", 2, **again)))
    assert told["Ready"][1] == "ModelLoadFailed"


FULL = b.unschedulable("0/1 nodes are available: 1 Insufficient cpu.")
OLD = (server("a", 1, **OK), server("b", 1, **OK))
QUOTA = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: exceeded quota: small'}


@pytest.mark.parametrize(
    ("listed", "reason", "says"),
    [
        pytest.param(
            [*OLD, server("c", 2, **LOADING), server("d", 2, **FULL)],
            "RollingOut",
            "Version 1 still answers. No node has room for pod d",
            id="is work that goes on while another new pod loads",
        ),
        pytest.param(
            [OLD[0], server("c", 2, **OK), server("d", 2, **FULL)],
            "RollingOut",
            "Version 1 still answers. No node has room for pod d",
            id="is work that goes on while old pods leave for new ones",
        ),
        pytest.param([*OLD, server("c", 2, **FULL)], "Unschedulable", "pod c", id="is a problem when no new pod comes on"),
        pytest.param(
            [server("c", 2, **OK), server("d", 2, **FULL)],
            "Unschedulable",
            "pod d",
            id="is a problem when no old pod will leave",
        ),
        pytest.param(
            [*OLD, server("c", 2, **BROKEN), server("d", 2, **FULL)],
            "ModelLoadFailed",
            "does not load",
            id="is not told before what is worse",
        ),
    ],
)
def test_want_of_room_in_a_rollout(listed: list[Manifest], reason: str, says: str) -> None:
    plan, _, told = planned(seen(b.inference_service(**TWO_OR_MORE), *listed))
    assert told["Ready"][1] == reason
    assert says in told["Ready"][2]
    assert [note.warning for note in plan.notes] == [reason != "RollingOut"]


def test_a_quota_that_leaves_room_for_some_new_pods_is_work_that_goes_on() -> None:
    manifest = b.inference_service(**TWO_OR_MORE)
    full = children(manifest, status={"conditions": [QUOTA]})
    _, _, told = planned(seen(manifest, *OLD, server("c", 2, **LOADING), children=full))
    assert told["Ready"][1] == "RollingOut"
    assert "quota" in told["Ready"][2]


def test_a_refusal_of_pods_is_told() -> None:
    manifest = b.inference_service()
    _, _, told = planned(seen(manifest, children=children(manifest, status={"conditions": [QUOTA]})))
    assert told["Ready"][1] == "QuotaExceeded"


def test_a_pod_that_waits_for_the_store_says_so_on_the_object_and_is_asked_while_it_loads() -> None:
    manifest = b.inference_service()
    said = "waiting for version 2 of model 'digits': the store does not answer; trying again in 4 s"
    waits = Progress(phase=WAITING_FOR_STORE, message=said, at=b.CONTEXT.now)
    pods = [server("a", 1, **OK), server("b", 2, **b.running(address="10.0.0.7"))]
    plan, first, told = planned(seen(manifest, *pods), waits)
    assert (plan.endpoint, told["Ready"][1]) == ("10.0.0.7", "RollingOut"), "an answer from before may be an old pod's"
    known = {**manifest, "status": first.to_json()}
    plan, _, told = planned(seen(known, *pods), waits)
    assert told["Ready"] == ("False", WAITING_FOR_STORE, f"A new pod is {said}. Version 1 still answers.")
    assert [note.warning for note in plan.notes] == [True]
    loads = Progress(phase="Loading", at=b.CONTEXT.now)
    assert planned(seen(known, *pods), loads)[2]["Ready"][1] == "RollingOut"
    serves = seen(known, server("b", 2, **b.running(ready=True, address="10.0.0.7")))
    assert planned(serves, waits)[2]["Ready"][:2] == ("True", "Serving")
    broken = seen(known, server("b", 2, **BROKEN))
    assert planned(broken, waits)[2]["Ready"][1] == "ModelLoadFailed", "what it said before it failed is over"
