"""The root of a store, opened by what the environment says: an S3-compatible bucket, a folder, or memory for tests.

Every request has a bound on its time and its tries. Knows no namespaces and no paths.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from obstore.store import LocalStore, MemoryStore, S3Store

from windlass_core.errors import BadConfiguration
from windlass_core.store_errors import translated

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

URL_VARIABLE = "WINDLASS_STORE_URL"

# One request, of at most a few MB each way, that takes longer than this is dead; obstore then tries again.
REQUEST_TIMEOUT = timedelta(seconds=60)
CONNECT_TIMEOUT = timedelta(seconds=5)
# A store that restarts (one pod on one volume) is back within this; after it the caller hears Unavailable.
RETRY_TIMEOUT = timedelta(seconds=90)
MAX_RETRIES = 10


def open_root(url: str, environment: Mapping[str, str]) -> "ObjectStore":
    """The store of all namespaces, ready to be used. A folder is made when it is not there.

    Args:
        url: `s3://bucket[/prefix]`, `file:///folder` or `memory:///`.
        environment: credentials and address of an S3 service; see `Store.open`.

    Raises:
        BadConfiguration: the URL is of another kind, or says more than these forms can.
        Unavailable: the folder cannot be made.
    """
    split = urlsplit(url)
    plain = not (split.query or split.fragment)
    match split.scheme:
        case "s3" if plain and split.netloc:
            with translated(""):
                return S3Store(
                    split.netloc,
                    prefix=split.path.strip("/") or None,
                    config=_s3_config(environment),
                    client_options=_client_options(environment),
                    retry_config=_RETRY,
                )
        case "file" if plain and not split.netloc and split.path.startswith("/"):
            with translated(""):
                return LocalStore(Path(unquote(split.path)), mkdir=True, automatic_cleanup=False)
        case "memory":
            return MemoryStore()
        case _:
            raise BadConfiguration(f"{URL_VARIABLE} is '{url}'; it must be s3://bucket[/prefix] or file:///folder")


_RETRY: "RetryConfig" = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}


def _s3_config(environment: Mapping[str, str]) -> Any:
    names = {
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN",
        "region": "AWS_REGION",
        "endpoint": "AWS_ENDPOINT_URL",
    }
    return {key: environment[name] for key, name in names.items() if environment.get(name)}


def _client_options(environment: Mapping[str, str]) -> "ClientConfig":
    plain = environment.get("AWS_ENDPOINT_URL", "").startswith("http://")
    return {"timeout": REQUEST_TIMEOUT, "connect_timeout": CONNECT_TIMEOUT, "allow_http": plain}
