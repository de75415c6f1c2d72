"""Whether the version that a run made takes its alias: the one place where that is decided. Pure.

Services follow an alias without asking, so it moves only to a version that their pods can load; until then they go on with the
version they have. Says nothing of how an alias is written: see publish.py.
"""

from collections.abc import Collection, Sequence

from windlass_core.resources.common import ModelVersionReference
from windlass_core.resources.model import ANSWERS_NOT_FINITE, OmittedFormat
from windlass_operator.conditions import Verdict
from windlass_operator.inference.image import WITH_TORCH, WITHOUT_TORCH

ALIAS_MOVED = "AliasMoved"

# Formats that pods of an InferenceService can load, of one image or the other; a version needs one of them.
SERVABLE_FORMATS = WITHOUT_TORCH | WITH_TORCH


def hindrance(formats: Collection[str], omitted: Sequence[OmittedFormat]) -> OmittedFormat | None:
    """Why no alias may be moved to a version of these formats, or None if it may."""
    not_finite = next((one for one in omitted if one.reason == ANSWERS_NOT_FINITE), None)
    if not_finite is not None or SERVABLE_FORMATS.intersection(formats):
        return not_finite  # no engine can be held against answers that are no numbers, so that pods take none
    wanted = " or ".join(sorted(SERVABLE_FORMATS))
    unknown = OmittedFormat(
        format=wanted, reason="NotServable", message=f"It has no {wanted}, and its run did not say why; train again."
    )
    return next((one for one in omitted if one.format in SERVABLE_FORMATS), unknown)


def not_listed(version: int) -> OmittedFormat:
    """Why no alias may be moved to a version that came when its Model had no room for it."""
    message = f"Its Model is full of versions newer than {version}; train again to publish a newer one."
    return OmittedFormat(format="all", reason="VersionNotListed", message=message)


def only_torch(formats: Collection[str], omitted: Sequence[OmittedFormat]) -> str:
    """What is to be said of a version that pods can load with torch alone; nothing of others."""
    if WITHOUT_TORCH.intersection(formats) or not WITH_TORCH.intersection(formats):
        return ""
    why = next((one.message for one in omitted if one.format in WITHOUT_TORCH), "Its run did not say why.")
    return f"Only torch can serve it, which takes more memory; a service whose engine is another cannot load it. {why}"


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


def of_run(version: ModelVersionReference, moved: Verdict | None, hindered: OmittedFormat | None, remark: str = "") -> Verdict:
    """What is to be said of a run that has published: it succeeded, also where its version takes no alias.

    Args:
        moved: what became of the alias, where one was asked for.
        hindered: what `hindrance` says of the version.
        remark: what `only_torch` says of a version that is not hindered.
    """
    published = f"Version {version.version} of Model {version.name} is published."
    if moved is not None and moved.problem:
        return Verdict("True", "PublishedWithoutAlias", f"{published} {moved.message}", problem=True)
    if moved is None and hindered is not None:
        return Verdict("True", "Published", f"{published} No service can load it. {hindered.message}", problem=True)
    said = (published, moved.message if moved else "", remark)
    return Verdict("True", "Published", " ".join(sentence for sentence in said if sentence))


def of_unpublished(alias: str, succeeded: Verdict) -> Verdict:
    """What is to be said of the alias while there is no version, or when there will be none."""
    if succeeded.status == "False":
        return Verdict("False", "NothingPublished", f"Alias {alias} stays where it is, because the run made no version.")
    return Verdict("Unknown", "NotPublished", f"Alias {alias} is moved when the run has published its version.")
