"""Compressed bodies: what every tool makes is read, bombs are refused early, large answers are packed."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pyarrow as pa
import pytest

from service.errors import BodyTooLarge
from service.serving.codecs import CSV, JSON, NPY, compression
from service.serving.errors import BadTensor, UnknownFormat


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


PLAIN = b"the quick brown fox " * 1000
PACKED = {
    "gzip": gzip.compress(PLAIN),
    "x-gzip": gzip.compress(PLAIN[:100]) + gzip.compress(PLAIN[100:]),
    "deflate": zlib.compress(PLAIN),
    "zstd": zstd(PLAIN),
    "ZSTD": zstd(PLAIN[:100]) + zstd(PLAIN[100:]),
    "identity": PLAIN,
    "": PLAIN,
    "gzip, zstd": zstd(gzip.compress(PLAIN)),
}
real = pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])


@pytest.mark.parametrize("encoding", PACKED)
def test_a_compressed_body_is_the_body(encoding: str) -> None:
    assert compression.inflate(PACKED[encoding], encoding, len(PLAIN)) == PLAIN
    assert compression.inflate(PLAIN, None, 1) == PLAIN


def test_a_stream_of_unknown_size_is_read() -> None:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packer:
        packer.write(PLAIN)
        packer.flush()
    assert compression.inflate(sink.getvalue().to_pybytes(), "zstd", len(PLAIN)) == PLAIN


@real
def test_more_than_the_limit_is_refused(encoding: str) -> None:
    with pytest.raises(BodyTooLarge, match="limit is 19,999"):
        compression.inflate(PACKED[encoding], encoding, len(PLAIN) - 1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "gzip, zstd"])
def test_a_bomb_does_not_go_off(encoding: str) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": zstd,
    }
    bomb = bytes(50 * 1024 * 1024)
    for name in encoding.split(", "):
        bomb = packers[name](bomb)
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            compression.inflate(bomb, encoding, 1024 * 1024)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


@real
@pytest.mark.parametrize("end", [-1, -10, 20, 1])
def test_a_body_that_is_cut_off_is_refused(encoding: str, end: int) -> None:
    with pytest.raises(BadTensor):
        compression.inflate(PACKED[encoding][:end], encoding, len(PLAIN))


@real
def test_what_is_not_compressed_is_refused(encoding: str) -> None:
    for body in (PLAIN, PACKED[encoding] + b"more"):
        with pytest.raises(BadTensor, match=f"no {encoding}"):
            compression.inflate(body, encoding, 10**6)


def test_a_compression_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UnknownFormat, match="zstd, gzip or deflate, not 'br'"):
        compression.inflate(PLAIN, "br", 10**6)


LARGE = b"0.123456," * 20_000


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "gzip"),
        ("zstd;q=0.1, gzip;q=0.9", "gzip"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, gzip;q=0", None),
    ],
)
def test_a_large_answer_is_packed_as_it_is_accepted(accepted: str | None, encoding: str | None) -> None:
    for media in (JSON, CSV):
        content, chosen = compression.compress(LARGE, media, accepted)
        assert chosen == encoding
        assert compression.inflate(content, chosen, len(LARGE)) == LARGE
        assert (len(content) < len(LARGE)) == (encoding is not None)


def test_what_gains_nothing_is_left_alone() -> None:
    assert compression.compress(LARGE, NPY, "gzip") == (LARGE, None)
    assert compression.compress(LARGE[:1000], JSON, "gzip") == (LARGE[:1000], None)
