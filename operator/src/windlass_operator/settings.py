"""The operator's settings: the one place that reads its environment.

Credentials stand here because the operator hands them on in a Secret; they are left out of every representation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

StoreMode = Literal["embedded", "s3", "volume"]

# What pods get of the store by the Secret, beside its URL.
CREDENTIAL_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")


class SettingsError(Exception):
    """The environment does not say what the operator needs; the message names the variable."""


@dataclass(frozen=True)
class Images:
    """Images of the pods that the operator makes."""

    preprocess: str
    train: str
    infer: str
    infer_torch: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreSettings:
    """Where the bytes are, and what pods need to get at them."""

    mode: StoreMode
    url: str
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Settings:
    """All settings of one operator.

    Attributes:
        namespaces: the namespaces to look after; none means all.
        own_namespace: namespace of the release; "" outside a cluster.
        port: of /healthz, /readyz and /metrics.
    """

    images: Images
    store: StoreSettings
    namespaces: tuple[str, ...] = ()
    own_namespace: str = ""
    port: int = 8080

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings that the environment gives.

        Raises:
            SettingsError: a variable is missing or no valid value.
        """
        mode = environment.get("WINDLASS_STORE_MODE", "embedded")
        if mode not in get_args(StoreMode):
            raise SettingsError(f"WINDLASS_STORE_MODE is '{mode}'; it must be embedded, s3 or volume")
        variables = CREDENTIAL_VARIABLES if mode != "volume" else ()
        return cls(
            images=Images(
                preprocess=_required(environment, "WINDLASS_IMAGE_PREPROCESS"),
                train=_required(environment, "WINDLASS_IMAGE_TRAIN"),
                infer=_required(environment, "WINDLASS_IMAGE_INFER"),
                infer_torch=_required(environment, "WINDLASS_IMAGE_INFER_TORCH"),
                pull_policy=environment.get("WINDLASS_IMAGE_PULL_POLICY") or "IfNotPresent",
                pull_secrets=_words(environment.get("WINDLASS_IMAGE_PULL_SECRETS", "")),
            ),
            store=StoreSettings(
                mode=cast("StoreMode", mode),
                url=_required(environment, "WINDLASS_STORE_URL"),
                credentials={name: environment[name] for name in variables if environment.get(name)},
            ),
            namespaces=_words(environment.get("WINDLASS_NAMESPACES", "")),
            own_namespace=environment.get("POD_NAMESPACE", ""),
            port=_port(environment.get("WINDLASS_PORT", "8080")),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name, "").strip():
        return value
    raise SettingsError(f"{name} is not set; the chart sets it")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _port(text: str) -> int:
    if text.isdecimal() and 0 <= int(text) <= 65535:
        return int(text)
    raise SettingsError(f"WINDLASS_PORT is '{text}'; it must be a port number")
