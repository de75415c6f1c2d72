"""What the operator reads from its environment, and what it says when something is missing."""

import pytest

from windlass_operator.settings import Settings, SettingsError

COMPLETE = {
    "WINDLASS_IMAGE_PREPROCESS": "r/preprocess:1",
    "WINDLASS_IMAGE_TRAIN": "r/train:1",
    "WINDLASS_IMAGE_INFER": "r/infer:1",
    "WINDLASS_IMAGE_INFER_TORCH": "r/infer-torch:1",
    "WINDLASS_STORE_MODE": "s3",
    "WINDLASS_STORE_URL": "s3://bucket",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "hush-hush",
    "WINDLASS_NAMESPACES": "team-a, team-b",
    "POD_NAMESPACE": "windlass-system",
    "WINDLASS_IMAGE_PULL_SECRETS": "registry",
}


def test_everything_that_the_chart_sets_is_read() -> None:
    settings = Settings.from_environment(COMPLETE)
    assert settings.namespaces == ("team-a", "team-b")
    assert settings.own_namespace == "windlass-system"
    assert settings.images.train == "r/train:1"
    assert settings.images.pull_policy == "IfNotPresent"
    assert settings.images.pull_secrets == ("registry",)
    assert settings.store.credentials == {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush-hush"}
    assert settings.port == 8080


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"WINDLASS_IMAGE_TRAIN": ""}, "WINDLASS_IMAGE_TRAIN is not set", id="an image is missing"),
        pytest.param({"WINDLASS_STORE_URL": " "}, "WINDLASS_STORE_URL is not set", id="the store is missing"),
        pytest.param({"WINDLASS_STORE_MODE": "nfs"}, "must be embedded, s3 or volume", id="the store is of no known kind"),
        pytest.param({"WINDLASS_PORT": "http"}, "must be a port number", id="the port is no number"),
    ],
)
def test_it_refuses_to_start_when(change: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Settings.from_environment({**COMPLETE, **change})


def test_credentials_are_not_shown() -> None:
    assert "hush-hush" not in repr(Settings.from_environment(COMPLETE))


def test_a_volume_needs_no_credentials_and_hands_none_on() -> None:
    assert Settings.from_environment({**COMPLETE, "WINDLASS_STORE_MODE": "volume"}).store.credentials == {}
