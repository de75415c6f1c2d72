"""Content codings: bodies that come compressed, and large answers for clients that ask for it.

Pure. What a body becomes is bounded whatever it says of itself, and so is the memory on the way there. gzip (RFC 1952), deflate
(RFC 9110: the zlib format, RFC 1950) and zstd (RFC 8878).
"""

import sys
import zlib
from collections.abc import Callable

from windlass_infer.bodies.media import Headers, content_codings, preferred_coding
from windlass_infer.errors import BadRequest, TooLarge, UnsupportedMedia
from windlass_infer.intake import MAX_BODY_BYTES
from windlass_infer.protocol import Encoded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Answers from here on are compressed when the client asks for it: below, the network carries them sooner than they are packed.
COMPRESS_FROM_BYTES = 64 * 1024
# Numbers hardly shrink more at higher levels, and take several times as long.
GZIP_LEVEL = 1
ZSTD_LEVEL = 1
# The window that a zstd frame may ask for: 8 MiB, the least that RFC 8878 asks every reader to take, and what every level below
# 20 stays within.
ZSTD_WINDOW_LOG = 23

_GZIP_BITS = 16 + zlib.MAX_WBITS
# Answers, the preferred first: zstd is several times faster than gzip at the same size.
OFFERED = ("zstd", "gzip")


def decoded(body: bytes, headers: Headers, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body as it was before it was compressed.

    Args:
        body: as it came.
        headers: of the request; Content-Encoding says what was done to the body.
        limit: bytes that it may become.

    Raises:
        UnsupportedMedia: a coding is unknown, or there is more than one.
        BadRequest: the body is not compressed so, or ends early.
        TooLarge: it becomes larger than `limit`.
    """
    if b"content-encoding" not in headers or not (codings := content_codings(headers)):
        return body
    decode = _DECODERS.get(codings[0]) if len(codings) == 1 else None
    if decode is None:
        raise UnsupportedMedia(f"the Content-Encoding of a body must be one of {', '.join(_DECODERS)} or none")
    try:
        plain = decode(body, limit + 1)
    except (zlib.error, zstd.ZstdError, EOFError):
        raise BadRequest(f"the body is not {codings[0]}, as its Content-Encoding says, or it ends early") from None
    if len(plain) > limit:
        raise TooLarge(f"the body becomes larger than {limit:,} bytes when it is unpacked; send fewer rows in a request")
    return plain


def coding_for(headers: Headers) -> str | None:
    """The coding in which a large answer goes to this client; None for none."""
    return preferred_coding(headers, OFFERED)


def compressed(encoded: Encoded, coding: str) -> Encoded:
    """The answer in one of the codings OFFERED."""
    packed = zstd.compress(encoded.body, ZSTD_LEVEL) if coding == "zstd" else _gzip(encoded.body)
    return Encoded(packed, {**encoded.headers, "Content-Encoding": coding, "Vary": "Accept-Encoding"})


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_BITS)
    return packer.compress(body) + packer.flush()


def _inflated(body: bytes, limit: int, bits: int) -> bytes:
    unpacker = zlib.decompressobj(bits)
    plain = unpacker.decompress(body, limit)
    if len(plain) < limit and (not unpacker.eof or unpacker.unused_data):
        raise EOFError
    return plain


def _unpacked_zstd(body: bytes, limit: int) -> bytes:
    unpacker = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
    plain = unpacker.decompress(body, limit)
    if len(plain) < limit and (not unpacker.eof or unpacker.unused_data):
        raise EOFError
    return plain


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": lambda body, limit: _inflated(body, limit, _GZIP_BITS),
    "deflate": lambda body, limit: _inflated(body, limit, zlib.MAX_WBITS),
    "zstd": _unpacked_zstd,
}
