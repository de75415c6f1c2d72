"""What the status of a Model says, as a table: versions and aliases, and what is told of them."""

import builders as b
import pytest

from windlass_core.resources import ModelStatus
from windlass_operator import conditions
from windlass_operator.api import MODEL, Manifest
from windlass_operator.model.plan import SeenModel, plan_model
from windlass_operator.plan import Plan


def planned(manifest: Manifest) -> tuple[Plan, ModelStatus]:
    plan = plan_model(SeenModel(b.parent(MODEL, manifest)), b.CONTEXT)
    return plan, ModelStatus.model_validate(plan.status)


@pytest.mark.parametrize(
    ("manifest", "ready", "reason", "says"),
    [
        pytest.param(b.model(), "False", "NoVersions", "No run has published", id="nothing is published"),
        pytest.param(b.model(versions=[1, 2]), "True", "VersionsPublished", "newest version is 2", id="it has versions"),
        pytest.param(
            b.model(versions=[1, 2], aliases={"production": 3}),
            "False",
            "AliasVersionNotFound",
            "production stands for version 3, which does not exist; there is 2, 1",
            id="an alias stands for nothing",
        ),
        pytest.param(
            b.model(aliases={"production": 1}), "False", "AliasVersionNotFound", "none yet", id="an alias, and no version yet"
        ),
    ],
)
def test_ready(manifest: Manifest, ready: str, reason: str, says: str) -> None:
    _, status = planned(manifest)
    condition = conditions.find(status.conditions, "Ready")
    assert condition is not None
    assert (condition.status, condition.reason) == (ready, reason)
    assert says in condition.message


def test_the_newest_version_and_the_aliases_stand_in_one_line_each() -> None:
    _, status = planned(b.model(versions=[1, 2], aliases={"production": 1, "canary": 2}))
    assert (status.latest_version, status.latest_metrics) == (2, "accuracy=0.97")
    assert status.aliases == "production=1, canary=2"


@pytest.mark.parametrize(
    ("before", "now", "moves", "says"),
    [
        pytest.param(None, {"production": 1}, [("production", 1, None)], "stands for version 1.", id="an alias is new"),
        pytest.param(
            "production=1", {"production": 2}, [("production", 2, 1)], "instead of version 1", id="an alias is promoted"
        ),
        pytest.param(
            "production=2", {"production": 1}, [("production", 1, 2)], "instead of version 2", id="an alias is rolled back"
        ),
        pytest.param("production=2", {}, [("production", None, 2)], "was removed", id="an alias is removed"),
    ],
)
def test_a_move_of_an_alias_is_noted_once(
    before: str | None, now: dict[str, int], moves: list[tuple[str, int | None, int | None]], says: str
) -> None:
    earlier = [{"alias": "old", "version": 1, "at": "2025-01-01T00:00:00Z"}] * 20
    manifest = b.model(versions=[1, 2], aliases=now, aliases_line=before, history=earlier)
    manifest["status"]["aliases"] = manifest["status"].pop("aliases_line")
    plan, status = planned(manifest)
    assert [(move.alias, move.version, move.previous) for move in status.history[:1]] == moves
    assert len(status.history) == 20
    assert says in plan.notes[0].message
    again, after = planned({**manifest, "status": plan.status})
    assert after.history == status.history
    assert again.notes == ()


def test_versions_of_runs_are_never_changed_here() -> None:
    manifest = b.model(versions=[1, 2, 3])
    _, status = planned(manifest)
    assert [version.to_json() for version in status.versions] == manifest["status"]["versions"]


def test_a_model_that_is_being_deleted_is_left_alone() -> None:
    manifest = b.model(metadata={"deletionTimestamp": "2026-01-01T12:00:00Z"})
    assert plan_model(SeenModel(b.parent(MODEL, manifest)), b.CONTEXT) == Plan()
