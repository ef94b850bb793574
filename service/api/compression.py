"""Content-Encoding undone: gzip, deflate and zstd, and never more than the limit is unpacked.

A body of a kilobyte can unpack to gigabytes, so the unpacked bytes are counted while they come.
"""

import zlib
from collections.abc import Callable, Iterator

import zstandard

from service.errors import Malformed, TooLarge, UnsupportedMedia

_PIECE = 1 << 16  # packed bytes that are unpacked at once


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The bytes that were packed.

    Raises:
        UnsupportedMedia: another encoding.
        Malformed: the body is not of that encoding, or is cut off.
        TooLarge: more than `limit` bytes come out.
    """
    encoding = encoding.strip().lower()
    if encoding == "identity":
        return body
    unpack = _UNPACKERS.get(encoding)
    if unpack is None:
        known = ", ".join(_UNPACKERS)
        raise UnsupportedMedia(f"content-encoding is {encoding!r}, expected one of {known}")
    parts: list[bytes] = []
    size = 0
    try:
        for part in unpack(body, limit + 1):
            size += len(part)
            if size > limit:
                raise TooLarge(f"the body unpacks to more than {limit} bytes; split the request")
            parts.append(part)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise Malformed(f"the body is not {encoding}, or is cut off: {error}") from None
    return b"".join(parts)


def _zlib(window: int) -> Callable[[bytes, int], Iterator[bytes]]:
    def unpack(body: bytes, most: int) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(window)
        yield unpacker.decompress(body, most)
        if not unpacker.eof and not unpacker.unconsumed_tail:
            raise EOFError("the end is missing")
        if unpacker.unused_data:
            raise EOFError("bytes follow its end")

    return unpack


def _zstd(body: bytes, most: int) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    for at in range(0, len(body), _PIECE):
        yield unpacker.decompress(body[at : at + _PIECE])
    if not unpacker.eof:
        raise EOFError("the end is missing")


_UNPACKERS: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "gzip": _zlib(16 + zlib.MAX_WBITS),
    "deflate": _zlib(zlib.MAX_WBITS),
    "zstd": _zstd,
}
