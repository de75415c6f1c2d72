"""Why a pod does not do its work, as one of a few stable reasons and a sentence that says what to do. Pure.

The reasons are part of the interface: users' scripts and alerts may rely on them. What a run said itself in its RunResult comes
first, because it knows most; then what the kubelet, the scheduler and the controllers said.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from windlass_operator.api import Manifest
from windlass_operator.conditions import clip
from windlass_operator.pods import Ended, Pod

# Of text that others wrote, such as a log line or the scheduler's sentence.
QUOTE_LENGTH = 600

_EXIT_REASONS = {40: "BadConfiguration", 41: "BadData", 42: "CodeRaised", 43: "BadDevice", 44: "Stopped"}
_EXIT_SENTENCES = {
    "BadConfiguration": "The spec asks for what cannot be; correct it.",
    "BadData": "The data is not what the spec says it is; correct one of the two.",
    "CodeRaised": "The code raised an error; correct it.",
    "BadDevice": "An accelerator of the node does not work; look at the node.",
    "Stopped": "The pod was asked to stop and saved its state.",
}
_SIGNAL_EXIT = 128  # a container ended by signal n exits with 128 + n
_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable", "ImageInspectError"}
)
# Reasons that another image would end.
OF_THE_IMAGE = frozenset({"ImagePullFailed", "InvalidImageName"})
_START_REASONS = frozenset({"CreateContainerError", "RunContainerError", "PreStartHookError", "PostStartHookError"})

_INSUFFICIENT = re.compile(r"(\d+) Insufficient ([\w./-]*\w)")
# What the scheduler tried besides, in words that help nobody.
_ASIDE = re.compile(r" no new claims to deallocate| preemption:")
_NODES = re.compile(r"^\d+/(\d+) nodes are available")


@dataclass(frozen=True)
class Diagnosis:
    """A stable reason and a sentence for people."""

    reason: str
    message: str


def of_waiting(pod: Pod) -> Diagnosis | None:
    """Why a pod that should run does not, or None when nothing is wrong with it yet."""
    if pod.unschedulable is not None:
        return _unschedulable(pod)
    if pod.waiting is None:
        return None
    reason, message = pod.waiting
    if reason in _IMAGE_REASONS:
        return Diagnosis(
            "ImagePullFailed",
            f"The image of pod {pod.name} cannot be pulled: {_quote(message)} Correct the image's name in the chart's values, "
            "or give the cluster access to the registry (imagePullSecrets); the pod tries again by itself.",
        )
    if reason == "InvalidImageName":
        return Diagnosis(
            "InvalidImageName", f"The image of pod {pod.name} has no valid name: {_quote(message)} Correct the chart's values."
        )
    if reason == "CreateContainerConfigError":
        return Diagnosis(
            "ContainerConfigError",
            f"Pod {pod.name} lacks something it refers to: {_quote(message)} Look whether the Secret windlass-store is there.",
        )
    if reason in _START_REASONS:
        return Diagnosis(
            "ContainerStartFailed",
            f"The container of pod {pod.name} cannot start: {_quote(message)} Look at the node's runtime.",
        )
    if reason == "CrashLoopBackOff" and pod.ended_before is not None:
        return of_end(pod, pod.ended_before)
    return None


def of_end(pod: Pod, ended: Ended | None = None) -> Diagnosis:
    """Why a pod that is over did not do its work; `ended` where an earlier end of its container is meant."""
    ended = ended or pod.ended
    if pod.disruption is not None or pod.phase_reason in ("Evicted", "Preempting", "NodeLost", "Shutdown", "Terminated"):
        return _disrupted(pod)
    if ended is None:
        return _without_container(pod)
    if ended.reason == "OOMKilled":
        return Diagnosis(
            "OutOfMemory",
            f"Pod {pod.name} used more memory than it may; raise spec.resources.memory, or give it less at a time.",
        )
    if (result := ended.result) is not None and result.outcome != "Succeeded":
        return Diagnosis(result.reason, _sentence(result.message) or f"Pod {pod.name} ended with reason {result.reason}.")
    if (reason := _EXIT_REASONS.get(ended.exit_code)) is not None:
        return Diagnosis(reason, f"{_EXIT_SENTENCES[reason]} Pod {pod.name} said: {_quote(_last_words(ended.message))}")
    if ended.reason in ("ContainerCannotRun", "StartError"):
        return Diagnosis("ContainerStartFailed", f"The container of pod {pod.name} cannot start: {_quote(ended.message)}")
    return _unexplained(pod, ended)


def of_refusal(events: Iterable[Manifest]) -> Diagnosis | None:
    """Why the cluster lets no pod be made, from the newest FailedCreate event of a Job."""
    failed = [event for event in events if event.get("reason") == "FailedCreate"]
    if not failed:
        return None
    newest = max(failed, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return of_refused_text(newest.get("message", ""))


def of_refused_text(message: str) -> Diagnosis:
    """What the API server said when it refused an object or a pod."""
    quoted = _quote(message)
    if "exceeded quota" in message:
        return Diagnosis(
            "QuotaExceeded", f"The namespace's quota leaves no room: {quoted} Ask for less, or have the quota raised."
        )
    if "violates PodSecurity" in message:
        return Diagnosis("PodSecurityRefused", f"The namespace's Pod Security level refuses the pod: {quoted}")
    if "LimitRange" in message or "per Container" in message or "per Pod" in message:
        return Diagnosis("LimitRangeRefused", f"The namespace's limits refuse the pod: {quoted} Change spec.resources.")
    if "being terminated" in message:
        return Diagnosis("NamespaceTerminating", "The namespace is being deleted, so nothing new can be made in it.")
    return Diagnosis("Refused", f"The API server refuses what this object needs: {quoted}")


def _unschedulable(pod: Pod) -> Diagnosis:
    text = _ASIDE.split(pod.unschedulable or "")[0].strip()
    wants = ", ".join(dict.fromkeys(f"{resource} on {count} of them" for count, resource in _INSUFFICIENT.findall(text)))
    nodes = _NODES.match(text)
    if wants and nodes:
        return Diagnosis(
            "Unschedulable",
            f"No node has room for pod {pod.name}: of {nodes[1]} nodes, there is too little {wants}. Ask for less in "
            f"spec.resources, or add nodes; the pod starts by itself when there is room. The scheduler: {_quote(text)}",
        )
    return Diagnosis(
        "Unschedulable",
        f"No node takes pod {pod.name}; it starts by itself when one does. The scheduler: {_quote(text) or 'no reason given.'}",
    )


def _disrupted(pod: Pod) -> Diagnosis:
    cause = pod.disruption or pod.phase_reason
    detail = _quote(pod.phase_message)
    if cause in ("Evicted", "TerminationByKubelet") or "evict" in cause.lower():
        return Diagnosis("Evicted", f"Node took pod {pod.name} away: {detail or cause + '.'}")
    if cause in ("PreemptionByScheduler", "Preempting"):
        return Diagnosis("Preempted", f"Pod {pod.name} made room for one of higher priority.")
    return Diagnosis("NodeLost", f"Pod {pod.name} was lost with its node ({cause}). {detail}".strip())


def _without_container(pod: Pod) -> Diagnosis:
    reason = pod.phase_reason
    if reason in ("UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory", "OutOfpods") or reason.startswith("OutOf"):
        return Diagnosis("NodeRefused", f"The node did not take pod {pod.name}: {_quote(pod.phase_message)}")
    if reason == "DeadlineExceeded":
        return Diagnosis("DeadlineExceeded", f"Pod {pod.name} ran longer than it may.")
    return Diagnosis("PodFailed", f"Pod {pod.name} failed: {_quote(pod.phase_message or reason) or 'no reason given.'}")


def _unexplained(pod: Pod, ended: Ended) -> Diagnosis:
    words = _quote(_last_words(ended.message))
    said = f" Its last words: {words}" if words else ""
    if ended.exit_code == 0:
        return Diagnosis("EndedEarly", f"Pod {pod.name} ended without saying what it made.{said} Its log may tell more.")
    if ended.exit_code > _SIGNAL_EXIT:
        signal = ended.exit_code - _SIGNAL_EXIT
        return Diagnosis("Killed", f"Pod {pod.name} was ended by signal {signal} from outside.{said}")
    return Diagnosis("Crashed", f"Pod {pod.name} exited with code {ended.exit_code}.{said} Its log may tell more.")


def _last_words(text: str) -> str:
    """The last line of a container's log; of one of our JSON log lines only what it says."""
    line = next((line for line in reversed(text.strip().splitlines()) if line.strip()), "")
    try:
        record = json.loads(line)
    except ValueError:
        return line
    return str(record.get("detail") or record.get("message") or line) if isinstance(record, dict) else line


def _quote(text: str) -> str:
    """Somebody else's text, cut and made one sentence of ours."""
    return _sentence(clip(text, QUOTE_LENGTH))


def _sentence(text: str) -> str:
    flat = " ".join(text.split())
    return flat if not flat or flat[-1] in ".!?…" else flat + "."
