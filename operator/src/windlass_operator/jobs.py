"""Jobs as planners see them: whether and why one ended. Pure."""

from dataclasses import dataclass
from datetime import datetime

from windlass_operator.api import Manifest


@dataclass(frozen=True)
class JobState:
    """The facts about one Job.

    Attributes:
        failure: reason and message of its end, if it failed; it is told as soon as the controller has decided, before the
            last pods are gone.
    """

    name: str
    namespace: str
    uid: str
    image: str
    deleting: bool
    created_at: datetime
    complete: bool
    failure: tuple[str, str] | None
    active: int


def read(manifest: Manifest) -> JobState:
    """The facts in a Job's manifest from the API server."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    true = {c["type"]: c for c in status.get("conditions") or [] if c.get("status") == "True"}
    failed = true.get("Failed") or true.get("FailureTarget")
    return JobState(
        name=metadata["name"],
        namespace=metadata["namespace"],
        image=manifest["spec"]["template"]["spec"]["containers"][0]["image"],
        uid=metadata["uid"],
        deleting="deletionTimestamp" in metadata,
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        complete="Complete" in true or "SuccessCriteriaMet" in true,
        failure=(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        active=status.get("active") or 0,
    )
