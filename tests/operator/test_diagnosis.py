"""Every way in which a pod does not do its work, and the stable reason and sentence that a user gets."""

from typing import Any

import builders as b
import pytest

from windlass_operator import diagnosis, pods
from windlass_operator.api import Manifest


def read(**given: Any) -> pods.Pod:
    return pods.read(b.pod("train-x-a1-0", **given))


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        pytest.param(
            b.unschedulable(
                "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 nodes."
            ),
            "Unschedulable",
            "The scheduler: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            id="no node has the GPUs asked for",
        ),
        pytest.param(
            b.unschedulable("0/9 nodes are available: 3 Insufficient cpu, 6 Insufficient memory."),
            "Unschedulable",
            "of 9 nodes, there is too little cpu on 3 of them, memory on 6 of them.",
            id="nodes lack different things",
        ),
        pytest.param(
            b.unschedulable("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            "Unschedulable",
            "unbound immediate PersistentVolumeClaims",
            id="the scheduler has another reason",
        ),
        pytest.param(b.unschedulable(""), "Unschedulable", "no reason given", id="the scheduler says nothing"),
        pytest.param(b.waiting("ErrImagePull", "not found"), "ImagePullFailed", "not found.", id="the image is not there"),
        pytest.param(b.waiting("ImagePullBackOff", "x"), "ImagePullFailed", "by itself", id="the image is still not there"),
        pytest.param(b.waiting("ErrImageNeverPull"), "ImagePullFailed", "values", id="the image may not be pulled"),
        pytest.param(b.waiting("InvalidImageName"), "InvalidImageName", "values", id="the image has no valid name"),
        pytest.param(
            b.waiting("CreateContainerConfigError", 'secret "windlass-store" not found'),
            "ContainerConfigError",
            "windlass-store",
            id="a Secret is missing",
        ),
        pytest.param(b.waiting("RunContainerError", "no such file"), "ContainerStartFailed", "no such file", id="no program"),
        pytest.param(
            b.waiting("CrashLoopBackOff", ended_before=b.terminated(1, "Traceback\nValueError: no")),
            "Crashed",
            "ValueError: no",
            id="it ends again and again",
        ),
    ],
)
def test_a_pod_that_does_not_start(status: Manifest, reason: str, says: str) -> None:
    found = diagnosis.of_waiting(read(**status))
    assert found is not None
    assert found.reason == reason
    assert says in found.message


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(b.pending(), id="it waits to be scheduled"),
        pytest.param(b.waiting("ContainerCreating"), id="its container is being made"),
        pytest.param(b.waiting("PodInitializing"), id="it is being set up"),
        pytest.param(b.running(), id="it runs"),
    ],
)
def test_nothing_is_wrong_while(status: Manifest) -> None:
    assert diagnosis.of_waiting(read(**status)) is None


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        pytest.param(
            b.ended(41, b.failed_result("LabelMissing", "There is no column digit")),
            "LabelMissing",
            "There is no column digit.",
            id="the run said why, and that is what counts",
        ),
        pytest.param(b.ended(40), "BadConfiguration", "correct it", id="exit code 40"),
        pytest.param(b.ended(41), "BadData", "correct one", id="exit code 41"),
        pytest.param(b.ended(42, "x\nZeroDivisionError"), "CodeRaised", "ZeroDivisionError", id="exit code 42"),
        pytest.param(b.ended(43), "BadDevice", "node", id="exit code 43"),
        pytest.param(b.ended(44), "Stopped", "saved", id="exit code 44"),
        pytest.param(b.ended(137, reason="OOMKilled"), "OutOfMemory", "spec.resources.memory", id="out of memory"),
        pytest.param(b.ended(137), "Killed", "signal 9", id="killed from outside"),
        pytest.param(
            b.ended(1, '{"level": "ERROR", "message": "the run ended", "detail": "the disk is full"}'),
            "Crashed",
            "the disk is full",
            id="the last line of a log in our own format",
        ),
        pytest.param(b.ended(1, ""), "Crashed", "code 1", id="it said nothing at all"),
        pytest.param(b.ended(128, reason="StartError"), "ContainerStartFailed", "cannot start", id="the program is missing"),
        pytest.param(
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
            "Evicted",
            "low on resource",
            id="the kubelet evicted it",
        ),
        pytest.param(b.disrupted("PreemptionByScheduler"), "Preempted", "higher priority", id="it made room"),
        pytest.param(b.disrupted("EvictionByEvictionAPI"), "Evicted", "EvictionByEvictionAPI", id="its node is drained"),
        pytest.param(b.disrupted("DeletionByTaintManager"), "NodeLost", "lost with its node", id="its node is gone"),
        pytest.param({"phase": "Failed", "reason": "OutOfcpu"}, "NodeRefused", "did not take", id="the node refused it"),
        pytest.param({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded", "longer", id="its deadline passed"),
        pytest.param({"phase": "Failed"}, "PodFailed", "no reason given", id="nobody says why"),
    ],
)
def test_a_pod_that_ended(status: Manifest, reason: str, says: str) -> None:
    found = diagnosis.of_end(read(**status))
    assert found.reason == reason
    assert says in found.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param('pods "x" is forbidden: exceeded quota: q, requested: cpu=2', "QuotaExceeded", id="a quota"),
        pytest.param('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "PodSecurityRefused", id="security"),
        pytest.param("maximum cpu usage per Container is 1, but limit is 2", "LimitRangeRefused", id="a limit range"),
        pytest.param(
            "unable to create new content in namespace x because it is being terminated",
            "NamespaceTerminating",
            id="a namespace that goes",
        ),
        pytest.param("admission webhook denied the request", "Refused", id="anything else"),
    ],
)
def test_a_refusal(text: str, reason: str) -> None:
    assert diagnosis.of_refused_text(text).reason == reason
    newest = diagnosis.of_refusal([b.failed_create("old", at="2025-01-01T00:00:00Z"), b.failed_create(text)])
    assert newest is not None
    assert newest.reason == reason


def test_no_refusal_without_an_event_that_says_so() -> None:
    assert diagnosis.of_refusal([{"reason": "SuccessfulCreate", "message": "Created pod"}]) is None


def test_a_long_text_of_others_is_cut() -> None:
    found = diagnosis.of_end(read(**b.ended(1, "x" * 4000)))
    assert len(found.message) < 800
