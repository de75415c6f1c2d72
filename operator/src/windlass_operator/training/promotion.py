"""Whether the version that a run made takes its alias: the one place where that is decided. Pure.

Services follow an alias without asking, so it moves only to a version that their pods can load; until then they go on with the
version they have. Says nothing of how an alias is written: see publish.py.
"""

from collections.abc import Collection, Sequence

from windlass_core.resources.common import ModelVersionReference
from windlass_core.resources.model import OmittedFormat
from windlass_operator.conditions import Verdict

ALIAS_MOVED = "AliasMoved"

# Formats that pods of an InferenceService can load; a version needs one of them.
SERVABLE_FORMATS = frozenset({"onnx"})


def hindrance(formats: Collection[str], omitted: Sequence[OmittedFormat]) -> OmittedFormat | None:
    """Why no alias may be moved to a version of these formats, or None if it may."""
    if SERVABLE_FORMATS.intersection(formats):
        return None
    wanted = " or ".join(sorted(SERVABLE_FORMATS))
    unknown = OmittedFormat(
        format=wanted, reason="NotServable", message=f"It has no {wanted}, and its run did not say why; train again."
    )
    return next((one for one in omitted if one.format in SERVABLE_FORMATS), unknown)


def of_published(alias: str, version: int, *, newest: int, hindered: OmittedFormat | None) -> Verdict:
    """What became of the alias once the version is in its Model and all that can be written is.

    Args:
        newest: the newest version that a run has moved this alias to.
        hindered: what `hindrance` says of the version.
    """
    if newest == version:
        return Verdict("True", "Moved", f"Alias {alias} was moved to version {version}.")
    if hindered is not None:
        message = f"Alias {alias} stays where it is, because no service could load version {version}. {hindered.message}"
        return Verdict("False", hindered.reason, message, problem=True)
    message = f"Alias {alias} was moved to version {newest} by another run, and stays there because that is newer."
    return Verdict("False", "NewerVersionPublished", message)


def of_run(version: ModelVersionReference, moved: Verdict | None, hindered: OmittedFormat | None) -> Verdict:
    """What is to be said of a run that has published: it succeeded, also where its version takes no alias.

    Args:
        moved: what became of the alias, where one was asked for.
        hindered: what `hindrance` says of the version.
    """
    published = f"Version {version.version} of Model {version.name} is published."
    if moved is not None and moved.problem:
        return Verdict("True", "PublishedWithoutAlias", f"{published} {moved.message}", problem=True)
    if moved is not None:
        return Verdict("True", "Published", f"{published} {moved.message}")
    if hindered is not None:
        return Verdict("True", "Published", f"{published} No service can load it. {hindered.message}", problem=True)
    return Verdict("True", "Published", published)


def of_unpublished(alias: str, succeeded: Verdict) -> Verdict:
    """What is to be said of the alias while there is no version, or when there will be none."""
    if succeeded.status == "False":
        return Verdict("False", "NothingPublished", f"Alias {alias} stays where it is, because the run made no version.")
    return Verdict("Unknown", "NotPublished", f"Alias {alias} is moved when the run has published its version.")
