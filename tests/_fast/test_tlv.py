"""The scanner against its slow twin, on sound and on broken octets, and the documented choices of what it takes."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eim._fast import tlv
from eim.asn1 import der
from eim.errors import Malformed
from tests.reference import tlv as twin


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Malformed:
        return Malformed


TAGS = st.sampled_from([0x02, 0x04, 0x30, 0x5A, 0x80, 0xA0, 0xA2, 0x5F37, 0x9F70, 0xBF2D, 0xBF51, 0x1FFF7F, 0xBF818102])
LEAVES = st.builds(der.wrap, TAGS.filter(lambda tag: not der.is_constructed(tag)), st.binary(max_size=300))
NODES = st.recursive(
    LEAVES,
    lambda inner: st.builds(der.wrap, TAGS.filter(der.is_constructed), st.lists(inner, max_size=4).map(b"".join)),
    max_leaves=20,
)
# Sound, damaged in one place, and noise that starts like a message.
BROKEN = st.builds(
    lambda octets, at, new: octets[: at % len(octets)] + new + octets[at % len(octets) + 1 :],
    NODES,
    st.integers(0, 10_000),
    st.binary(max_size=3),
)
OCTETS = NODES | BROKEN | st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: b"\xbf\x50\x14" + tail)


@settings(max_examples=1500, deadline=None)
@given(OCTETS, st.integers(1, 20))
def test_check_takes_and_refuses_what_its_twin_does(octets: bytes, depth: int) -> None:
    assert outcome(tlv.check, octets, depth) == outcome(twin.check, octets, depth)


@settings(max_examples=1500, deadline=None)
@given(OCTETS, st.integers(-2, 70), st.integers(-2, 70))
def test_children_are_those_its_twin_finds(octets: bytes, start: int, end: int) -> None:
    assert outcome(tlv.children, octets, start, end) == outcome(twin.children, octets, start, end)
    whole = (octets, 0, len(octets))
    assert outcome(tlv.children, *whole) == outcome(twin.children, *whole)


@settings(max_examples=300, deadline=None)
@given(NODES)
def test_what_was_written_is_sound_and_cut_anywhere_it_is_not(octets: bytes) -> None:
    tlv.check(octets, 64)
    for size in range(len(octets)):
        with pytest.raises(Malformed):
            tlv.check(octets[:size], 64)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param("", id="nothing"),
        pytest.param("30", id="a tag alone"),
        pytest.param("BF", id="half a tag"),
        pytest.param("3080 0201 01 0000", id="an indefinite length"),
        pytest.param("0480", id="an indefinite length on a primitive"),
        pytest.param("30 03 0480 00", id="an indefinite length inside"),
        pytest.param("3084FFFFFFFF", id="four gigabytes claimed"),
        pytest.param("3088FFFFFFFFFFFFFFFF", id="a length of eight octets"),
        pytest.param("308500000000020500", id="five length octets, though four are zero"),
        pytest.param("30FF00", id="the reserved length FF"),
        pytest.param("30 830FFFFF 00000000", id="a megabyte claimed in ten octets"),
        pytest.param("30 02 0402", id="a child longer than its parent"),
        pytest.param("30 03 020101 00", id="an octet behind"),
        pytest.param("020101 020101", id="two TLVs"),
        pytest.param("0000", id="end-of-contents"),
        pytest.param("30 02 0000", id="end-of-contents inside"),
        pytest.param("1FFFFFFFFF7F 00", id="a tag number of 35 bits"),
        pytest.param("3F8001 00", id="a tag number that starts with zero"),
    ],
)
def test_refused(octets: str) -> None:
    with pytest.raises(Malformed):
        tlv.check(bytes.fromhex(octets), 16)


@pytest.mark.parametrize(
    ("octets", "content"),
    [
        pytest.param("30 8103 020101", 3, id="a length in one octet more than need be"),
        pytest.param("30 8400000003 020101", 5 + 1, id="a length in four octets"),
        pytest.param("9F05 00", 0, id="a tag number below 31 in the long form"),
        pytest.param("1FFFFF7F 00", 0, id="a tag of four octets"),
        pytest.param("30 00", 0, id="an empty one"),
    ],
)
def test_taken(octets: str, content: int) -> None:
    raw = bytes.fromhex(octets)
    tlv.check(raw, 16)
    ((_, start, value, end),) = tlv.children(raw, 0, len(raw))
    assert (start, end) == (0, len(raw))
    assert end - value <= content


@pytest.mark.parametrize("depth", [10, 16, 17, 100, 10_000, 1_000_000])
def test_nesting_is_taken_to_the_limit_and_refused_behind_it(depth: int) -> None:
    octets = nested(depth)
    if depth <= der.DEPTH:
        tlv.check(octets, der.DEPTH)
    else:
        with pytest.raises(Malformed):
            tlv.check(octets, der.DEPTH)


def nested(depth: int) -> bytes:
    """`depth` sequences inside one another, lengths in 4 octets so that building it is linear."""
    heads = [b"\x30\x84" + (6 * (depth - 1 - level)).to_bytes(4, "big") for level in range(depth)]
    return b"".join(heads)


@pytest.mark.timed
def test_64_kilobytes_of_nesting_or_of_siblings_take_under_2_milliseconds() -> None:
    for octets in (nested(65_536 // 6), der.wrap(0x30, b"\x05\x00" * 32_000), der.wrap(0x30, b"\x30\x00" * 32_000)):
        best = min(timed(octets) for _ in range(5))
        assert best < 0.002


def timed(octets: bytes) -> float:
    start = time.thread_time()
    outcome(tlv.check, octets, der.DEPTH)
    return time.thread_time() - start


def test_a_depth_that_the_scanner_has_no_room_for_is_refused() -> None:
    for depth in (0, 65, -1):
        with pytest.raises(ValueError, match="depth"):
            tlv.check(b"\x05\x00", depth)
