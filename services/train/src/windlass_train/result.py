"""What a run reports once its version is there. Light: a pod that finds the version published needs no torch for it."""

from windlass_core.contracts import ModelResult, RunResult
from windlass_core.registry import PublishedVersion


def published_result(version: PublishedVersion) -> RunResult:
    """What a run reports when its version is there."""
    content = version.manifest.model
    assert content is not None  # noqa: S101  (a registry of models gives models)
    return RunResult(
        outcome="Succeeded",
        reason="Published",
        message=f"published version {version.reference.version} of model {version.reference.name}",
        model=ModelResult(
            version=version.reference,
            bytes=version.manifest.size,
            formats=list(content.formats),
            omitted=content.omitted,
            metrics=content.metrics,
            step=content.step,
            created_at=version.manifest.created_at,
        ),
    )
