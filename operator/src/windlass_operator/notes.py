"""Notes as Kubernetes Events. Pure."""

from datetime import datetime

from windlass_operator.api import EVENT, Manifest
from windlass_operator.compare import digest
from windlass_operator.conditions import clip
from windlass_operator.plan import Note, Parent

COMPONENT = "windlass-operator"
MESSAGE_LENGTH = 1000  # the API server takes 1,024 bytes


def event(parent: Parent, note: Note, now: datetime) -> Manifest:
    """The Event of a note. The same note on the same object has the same name, so telling it twice tells it once."""
    message = clip(note.message, MESSAGE_LENGTH).encode()[:MESSAGE_LENGTH].decode(errors="ignore")
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {
            "name": f"{parent.name}.{digest([parent.uid, note.reason, note.message])}",
            "namespace": parent.namespace,
        },
        "involvedObject": {
            "apiVersion": parent.kind.api_version,
            "kind": parent.kind.name,
            "name": parent.name,
            "namespace": parent.namespace,
            "uid": parent.uid,
        },
        "type": "Warning" if note.warning else "Normal",
        "reason": note.reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
