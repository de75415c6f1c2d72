"""The restricted Pod Security Standard as a function over a pod's spec. Knows no cluster and no chart.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from collections.abc import Iterator, Mapping
from typing import Any

PodSpec = Mapping[str, Any]

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC")
SECCOMP_PROFILES = {"RuntimeDefault", "Localhost"}


def violations(spec: PodSpec) -> list[str]:
    """What the standard refuses in a pod, as sentences; none for a pod that passes."""
    return [*_of_pod(spec), *(said for container in containers(spec) for said in _of_container(spec, container))]


def containers(spec: PodSpec) -> list[Mapping[str, Any]]:
    """All containers of a pod, those of the start among them."""
    return [*spec.get("initContainers", []), *spec.get("containers", [])]


def _of_pod(spec: PodSpec) -> Iterator[str]:
    yield from (f"{field} is set" for field in HOST_FIELDS if spec.get(field))
    for volume in spec.get("volumes", []):
        kind = next(key for key in volume if key != "name")
        if kind not in VOLUMES:
            yield f"volume {volume['name']} is of kind {kind}"
    if spec.get("securityContext", {}).get("sysctls"):
        yield "the pod sets sysctls"


def _of_container(spec: PodSpec, container: Mapping[str, Any]) -> Iterator[str]:
    name = container["name"]
    own = container.get("securityContext", {})
    merged = {**spec.get("securityContext", {}), **own}
    if merged.get("runAsNonRoot") is not True:
        yield f"{name} may run as root"
    if merged.get("runAsUser") == 0:
        yield f"{name} runs as root"
    if merged.get("seccompProfile", {}).get("type") not in SECCOMP_PROFILES:
        yield f"{name} has no seccomp profile"
    if own.get("privileged"):
        yield f"{name} is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may gain privileges"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name} keeps capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"{name} adds capabilities"
    if own.get("procMount", "Default") != "Default":
        yield f"{name} unmasks /proc"
    yield from (
        f"{name} takes port {port['hostPort']} of its node" for port in container.get("ports", []) if port.get("hostPort")
    )
