"""The check of the restricted Pod Security Standard itself: a good pod passes, and each thing that is not allowed is found."""

from collections.abc import Callable
from typing import Any

import pytest
from pod_security import violations

Spec = dict[str, Any]


def good() -> Spec:
    """A pod that passes."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [{"name": "first", "securityContext": dict(security)}],
        "containers": [{"name": "main", "securityContext": dict(security), "ports": [{"containerPort": 8080}]}],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def container(**changes: Any) -> Callable[[Spec], None]:
    return lambda spec: spec["containers"][0]["securityContext"].update(changes)


def pod(**changes: Any) -> Callable[[Spec], None]:
    return lambda spec: spec["securityContext"].update(changes)


BAD: dict[str, Callable[[Spec], None]] = {
    "main may run as root": container(runAsNonRoot=False),
    "first may run as root": pod(runAsNonRoot=None),
    "main runs as root": container(runAsUser=0),
    "main has no seccomp profile": container(seccompProfile={"type": "Unconfined"}),
    "main is privileged": container(privileged=True),
    "main may gain privileges": container(allowPrivilegeEscalation=None),
    "main keeps capabilities": container(capabilities={}),
    "main adds capabilities": container(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "main unmasks /proc": container(procMount="Unmasked"),
    "main takes port 80 of its node": lambda spec: spec["containers"][0]["ports"][0].update(hostPort=80),
    "hostNetwork is set": lambda spec: spec.update(hostNetwork=True),
    "hostPID is set": lambda spec: spec.update(hostPID=True),
    "volume host is of kind hostPath": lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
    "the pod sets sysctls": pod(sysctls=[{"name": "net.core.somaxconn", "value": "1"}]),
}


def test_a_good_pod_passes() -> None:
    assert violations(good()) == []


@pytest.mark.parametrize(("sentence", "spoil"), BAD.items(), ids=BAD.keys())
def test_a_bad_pod_is_told_why(sentence: str, spoil: Callable[[Spec], None]) -> None:
    spec = good()
    spoil(spec)
    assert sentence in violations(spec)
