"""Hostile octets cost linear time and little memory, and are refused at the documented limits."""

import contextlib
import time
import tracemalloc

import pytest

from eim.asn1 import der
from eim.asn1.sgp32 import Unreadable
from eim.errors import Malformed
from eim.protocol.esipa import Provided, receive
from tests.asn1.test_sgp32 import EID

BOMBS = [
    pytest.param("84FFFFFFFF", id="four gigabytes"),
    pytest.param("88FFFFFFFFFFFFFFFF", id="eight octets of length"),
    pytest.param("8310000000000000", id="a megabyte in ten octets"),
    pytest.param("FEFFFFFF", id="126 octets of length"),
    pytest.param("80", id="indefinite"),
    pytest.param("7F", id="beyond the body"),
]


@pytest.mark.parametrize("length", BOMBS)
@pytest.mark.parametrize("tag", ["BF4F", "BF50", "BF3D", "BF39", "BF50 14 5A", "BF50 20 BF52 1D A0 1B 81"])
def test_a_length_that_lies_is_refused_for_next_to_nothing(tag: str, length: str) -> None:
    octets = bytes.fromhex(tag + length) + bytes(8)
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            receive(octets)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def nested(tag: bytes, depth: int, inner: bytes = b"") -> bytes:
    heads = [
        tag + b"\x84" + ((len(tag) + 5) * (depth - 1 - level) + len(inner)).to_bytes(4, "big") for level in range(depth)
    ]
    return b"".join(heads) + inner


@pytest.mark.parametrize("depth", [10, 16, 17, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("tag", ["30", "A0", "BF50", "BF51", "BF3D"])
def test_deep_nesting_is_refused_and_breaks_nothing(tag: str, depth: int) -> None:
    octets = nested(bytes.fromhex(tag), depth)
    if tag == "BF50" and depth <= der.DEPTH:
        received = receive(octets)
        assert isinstance(received, Provided)
        assert isinstance(received.payload, Unreadable)
    else:
        with pytest.raises(Malformed):
            receive(octets)


@pytest.mark.parametrize("depth", [1, 12, 13, 2_000])
def test_depth_counts_also_where_nobody_looks(depth: int) -> None:
    octets = der.wrap(
        0xBF4F, b"\x5a\x10" + EID + der.wrap(0xBF7F, der.wrap(0x30, b"\x30\x00") + nested(b"\xa5", depth))
    )
    if depth + 2 <= der.DEPTH:
        receive(octets)
    else:
        with pytest.raises(Malformed):
            receive(octets)


SIBLINGS = [
    pytest.param(der.wrap(0xBF50, b"\x05\x00" * 32_000), id="unknown elements"),
    pytest.param(der.wrap(0xBF50, b"\x5a\x10" + EID + b"\x9f\x55\x00" * 21_000), id="unknown elements behind an EID"),
    pytest.param(der.wrap(0xBF50, der.wrap(0xBF52, der.wrap(0xA0, b"\x9f\x55\x00" * 21_000))), id="unknown data"),
    pytest.param(der.wrap(0xBF50, nested(b"\x30", 65_536 // 6)), id="nesting"),
    pytest.param(
        der.wrap(0xBF50, der.wrap(0xBF51, der.wrap(0xA0, der.wrap(0x30, b"\x30\x00" * 32_000) + b"\x5f\x37\x01\x00"))),
        id="sequences in a signed part",
    ),
]


@pytest.mark.timed
@pytest.mark.parametrize("octets", SIBLINGS)
def test_64_kilobytes_take_milliseconds(octets: bytes) -> None:
    assert min(timed(octets) for _ in range(5)) < 0.05


def timed(octets: bytes) -> float:
    start = time.thread_time()
    with contextlib.suppress(Malformed):
        receive(octets)
    return time.thread_time() - start


def results(count: int) -> bytes:
    data = bytes.fromhex("80026531 810101 830107") + der.wrap(0x30, b"\x83\x00" * count)
    return der.wrap(0xBF50, der.wrap(0xBF51, der.wrap(0xA0, der.wrap(0x30, data) + b"\x5f\x37\x01\x00")))


@pytest.mark.timed
def test_time_grows_with_the_size_and_no_faster() -> None:
    small, large = results(3_000), results(30_000)
    least = min(timed(small) for _ in range(5))
    assert min(timed(large) for _ in range(5)) < 25 * least
