"""Packed bodies: unpacked as they were, refused when they are not what they say or too large."""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from service.api.compression import decompress
from service.errors import Malformed, TooLarge, UnsupportedMedia

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", PACKERS)
@given(body=st.binary(max_size=2000))
def test_what_was_packed_comes_back(encoding: str, body: bytes) -> None:
    packed = PACKERS[encoding](body)
    assert decompress(packed, encoding, 2000) == body
    assert decompress(packed, f" {encoding.upper()} ", 2000) == body


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_small_body_that_unpacks_to_a_large_one_is_refused(encoding: str) -> None:
    bomb = PACKERS[encoding](bytes(50_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge, match="more than 1000000 bytes"):
        decompress(bomb, encoding, 1_000_000)


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_the_limit_is_the_last_size_that_passes(encoding: str, size: int) -> None:
    packed = PACKERS[encoding](bytes(size))
    if size > 1000:
        with pytest.raises(TooLarge):
            decompress(packed, encoding, 1000)
    else:
        assert decompress(packed, encoding, 1000) == bytes(size)


@pytest.mark.parametrize("encoding", PACKERS)
@given(body=st.binary(max_size=100))
def test_whatever_comes_is_unpacked_or_refused(encoding: str, body: bytes) -> None:
    with suppress(Malformed, TooLarge):
        decompress(body, encoding, 1000)


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("cut", [0, 1, 5, -1])
def test_a_body_that_is_cut_off_is_refused(encoding: str, cut: int) -> None:
    packed = PACKERS[encoding](b"a body of some length " * 10)
    with pytest.raises(Malformed, match=f"not {encoding}, or is cut off"):
        decompress(packed[:cut], encoding, 1000)


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(Malformed, match="follow"):
        decompress(gzip.compress(b"a") + b"more", "gzip", 1000)


def test_another_encoding_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedMedia, match="'br', expected one of gzip, deflate, zstd"):
        decompress(b"", "br", 1000)


def test_identity_is_what_came() -> None:
    assert decompress(b"abc", "identity", 1000) == b"abc"
