"""Bodies of requests: their bound, and what their content encoding hides."""

from __future__ import annotations

import zlib

from router.errors import BodyError, TooLargeError


def inflate(encoding: bytes, body: bytes, limit: int) -> bytes:
    """A body without its content encoding.

    Args:
        encoding: as the head names it.
        body: as it was received.
        limit: bytes that it may have.

    Raises:
        BodyError: an encoding that is not known, or damaged data.
        TooLargeError: larger than a body may be.
    """
    if encoding in (b"gzip", b"x-gzip"):
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    elif encoding == b"deflate":
        stream = zlib.decompressobj()
    else:
        raise BodyError(
            f"expected content-encoding gzip or deflate, got {encoding.decode('latin-1')}",
            code="body.encoding",
        )
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise BodyError(f"the compressed body is damaged: {error}", code="body.encoding") from error
    if len(plain) > limit:
        raise too_large(limit)
    if not stream.eof or stream.unused_data:
        raise BodyError(
            "the compressed body is cut off or has more behind it", code="body.encoding"
        )
    return plain


def too_large(limit: int) -> TooLargeError:
    """The error for a body beyond the limit, the same on both lanes."""
    return TooLargeError(
        f"expected a body of at most {limit} bytes",
        hint="send several requests, or use the stream",
    )
