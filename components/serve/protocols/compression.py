"""Compressed bodies: gzip, bounded by the size after decompression."""

from __future__ import annotations

import zlib

from headrace.core.errors import DataError

_GZIP = 31


class BodyTooLarge(Exception):
    """The body is larger than allowed once it is decompressed."""


def gunzip(body: bytes, most: int) -> bytes:
    """The content of a gzip body.

    Args:
        body: one gzip member.
        most: maximum size of the content, in bytes; no more than that is ever decompressed.

    Raises:
        BodyTooLarge: the content is larger.
        DataError: it is not gzip, or incomplete.
    """
    reader = zlib.decompressobj(_GZIP)
    try:
        content = reader.decompress(body, most + 1)
    except zlib.error as error:
        raise DataError("the body is not gzip, as Content-Encoding states", received=str(error)) from error
    if len(content) > most:
        raise BodyTooLarge
    if not reader.eof or reader.unused_data:
        received = "data after its end" if reader.eof else "an incomplete one"
        raise DataError("the body is not gzip, as Content-Encoding states", expected="one member", received=received)
    return content
