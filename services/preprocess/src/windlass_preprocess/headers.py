"""The HTTP headers of uploads and downloads, checked: digests by RFC 9530, ranges of a body by RFC 9110. Pure."""

import base64
import binascii
import re
from collections.abc import Mapping
from email.utils import format_datetime

from windlass_core.errors import BadConfiguration
from windlass_core.store import Entry
from windlass_preprocess.uploads import Span

HEX_DIGEST_HEADER = "X-Content-SHA256"
HOW_TO_GIVE_A_DIGEST = f"Repr-Digest: sha-256=:<base64>: or {HEX_DIGEST_HEADER}: <hex>"

_SHA256_BYTES = 32
_STRUCTURED_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):\s*(?:,|$)")
_CONTENT_RANGE = re.compile(r"^bytes (\d{1,18})-(\d{1,18})/(\d{1,18})$")


def digest_of(headers: Mapping[str, str]) -> str | None:
    """sha256:<hex> of the whole file as the client announces it, or None.

    Content-Digest speaks of this body alone, which is the whole file when there is no Content-Range.

    Raises:
        BadConfiguration: a digest is malformed or of another algorithm, or two contradict one another.
    """
    found: dict[str, str] = {}
    for name in ("Repr-Digest", "Content-Digest"):
        if (value := headers.get(name)) is not None:
            found[name] = _structured(name, value)
    if "Content-Digest" in found and "Content-Range" in headers:
        raise BadConfiguration(f"Content-Digest speaks of the part alone; give the digest of the whole: {HOW_TO_GIVE_A_DIGEST}")
    if (value := headers.get(HEX_DIGEST_HEADER)) is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value.strip()):
            raise BadConfiguration(f"{HEX_DIGEST_HEADER} must be 64 hexadecimal digits, as sha256sum prints them")
        found[HEX_DIGEST_HEADER] = value.strip().lower()
    if len(set(found.values())) > 1:
        raise BadConfiguration(f"{' and '.join(found)} announce different digests")
    return f"sha256:{next(iter(found.values()))}" if found else None


def length_of(headers: Mapping[str, str]) -> int | None:
    """What Content-Length says, or None for a body that comes in pieces of unknown number."""
    value = headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdigit() else None


def span_of(headers: Mapping[str, str]) -> Span | None:
    """What Content-Range says, or None without one.

    Raises:
        BadConfiguration: it does not say which bytes of how many.
    """
    value = headers.get("Content-Range")
    if value is None:
        return None
    match = _CONTENT_RANGE.match(value.strip())
    first, last, total = (int(number) for number in match.groups()) if match else (0, 0, 0)
    if not first <= last < total:
        raise BadConfiguration(f"Content-Range is '{value}'; it must be 'bytes <first>-<last>/<size of the whole file>'")
    return Span(first, last + 1, total)


def repr_digest(digest: str) -> str:
    """sha256:<hex> as the value of Repr-Digest."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(digest.removeprefix('sha256:'))).decode()}:"


def file_headers(entry: Entry) -> dict[str, str]:
    """Headers that describe a file."""
    return {"Content-Length": str(entry.bytes), "Last-Modified": format_datetime(entry.modified, usegmt=True)}


def _structured(name: str, value: str) -> str:
    match = _STRUCTURED_DIGEST.search(value)
    try:
        digest = base64.b64decode(match.group(1), validate=True) if match else b""
    except binascii.Error:
        digest = b""
    if len(digest) != _SHA256_BYTES:
        raise BadConfiguration(f"{name} must hold a SHA-256 digest, as in {name}: sha-256=:<base64>:")
    return digest.hex()
