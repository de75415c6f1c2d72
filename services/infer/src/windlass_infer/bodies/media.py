"""What the headers of a request say about its body and about the answer: media types and content codings.

Pure. Whatever a header holds, the answer is a value: what cannot be understood counts as not there. Names of headers are lower
case, as ASGI gives them. Source: RFC 9110, sections 8.3, 8.4 and 12.5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

Headers = Mapping[bytes, bytes]

# Headers beyond this are not looked at: nobody needs them, and taking them apart takes time.
_MAX_HEADER_CHARACTERS = 1024
_HEADERS_KEPT = 256


@dataclass(frozen=True)
class MediaType:
    """One media type, lower case, with its parameters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def content_type(headers: Headers) -> MediaType | None:
    """What the body says it is; None where it says nothing."""
    return next(iter(_listed(headers, b"content-type")), None)


def accepted(headers: Headers, name: str) -> MediaType | None:
    """The entry of the Accept header that asks for the type `name` by its name, if there is one."""
    return next((entry for entry in _listed(headers, b"accept") if entry.name == name and _quality(entry) > 0), None)


def content_codings(headers: Headers) -> list[str]:
    """Codings of the body in the order in which they were applied, without `identity`."""
    return [entry.name for entry in _listed(headers, b"content-encoding") if entry.name != "identity"]


def preferred_coding(headers: Headers, offered: Sequence[str]) -> str | None:
    """The coding of `offered`, best first, that the client takes; None where it asks for none of them."""
    if b"accept-encoding" not in headers:
        return None
    qualities = {entry.name: _quality(entry) for entry in _listed(headers, b"accept-encoding")}
    best = max(offered, key=lambda coding: qualities.get(coding, 0.0))
    return best if qualities.get(best, 0.0) > 0 else None


def _listed(headers: Headers, key: bytes) -> tuple[MediaType, ...]:
    value = headers.get(key)
    return _taken_apart(value[:_MAX_HEADER_CHARACTERS]) if value else ()


# Clients send the same few headers with every request, and taking one apart costs more than reading a small body.
@lru_cache(maxsize=_HEADERS_KEPT)
def _taken_apart(value: bytes) -> tuple[MediaType, ...]:
    found = []
    for part in value.decode("latin-1").split(","):
        name, *rest = part.split(";")
        if name := name.strip().lower():
            pairs = (parameter.partition("=") for parameter in rest)
            found.append(MediaType(name, {key.strip().lower(): text.strip().strip('"') for key, _, text in pairs}))
    return tuple(found)


def _quality(entry: MediaType) -> float:
    try:
        return min(max(float(entry.parameters.get("q", 1)), 0.0), 1.0)
    except ValueError:
        return 0.0
