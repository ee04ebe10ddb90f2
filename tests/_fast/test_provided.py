"""The plain result against its slow twin and against the general reader."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eim._fast.provided import read_result
from eim.asn1.esipa import read_any_provided, read_provided
from eim.errors import Malformed
from tests.reference import provided as twin
from tests.reference.der import wrap

CAPTURES = Path(__file__).parents[1] / "vectors" / "esipa-captures"
EID = bytes.fromhex("89049032123451234512345678901235")
NAMED = wrap(0x5A, EID)
BEHIND = st.sampled_from([None, b"", bytes.fromhex("A000"), bytes.fromhex("BF2B02A000"), bytes.fromhex("A00100")])
TAGS = st.sampled_from([0x83, 0x84, 0x85, 0x8C, 0x02, 0x8B, 0xA8, 0xBF2D, 0x9F70])
NUMBERS = st.binary(min_size=1, max_size=9)
CODES = st.lists(st.builds(wrap, TAGS, NUMBERS), max_size=34).map(b"".join)
TEXTS = st.text(max_size=4).map(str.encode) | st.sampled_from([b"eim.example.com", b"e" * 127, b"e" * 128, b"\xff"])


def message(
    around: tuple[bytes, bytes | None],
    text: bytes,
    counter: bytes,
    transaction: bytes,
    seq: bytes,
    codes: bytes,
    signature: bytes,
) -> bytes:
    said = wrap(0x80, text) + wrap(0x81, counter) + wrap(0x82, transaction) + wrap(0x83, seq) + wrap(0x30, codes)
    result = wrap(0xBF51, wrap(0xA0, wrap(0x30, said) + wrap(0x5F37, signature)))
    named, behind = around
    return wrap(0xBF50, named + (result if behind is None else wrap(0x30, result + behind)))


WHOLE = st.builds(
    message,
    st.tuples(st.just(NAMED) | st.binary(max_size=17).map(lambda eid: wrap(0x5A, eid)), BEHIND),
    TEXTS,
    NUMBERS,
    st.binary(max_size=17),
    NUMBERS,
    CODES,
    st.just(bytes(64)) | st.binary(min_size=62, max_size=65),
)
USUAL = st.builds(
    message,
    st.tuples(st.sampled_from([NAMED, b""]), BEHIND),
    st.just(b"eim.example.com"),
    st.binary(min_size=1, max_size=8),
    st.binary(min_size=1, max_size=16),
    st.binary(min_size=1, max_size=8),
    st.lists(st.builds(wrap, TAGS, st.binary(min_size=1, max_size=4)), max_size=4).map(b"".join),
    st.binary(min_size=64, max_size=64),
)
BROKEN = st.builds(
    lambda octets, at, size, new: octets[: at % len(octets)] + new + octets[at % len(octets) + size :],
    USUAL,
    st.integers(0, 160),
    st.integers(0, 3),
    st.binary(max_size=3),
)
OCTETS = USUAL | WHOLE | BROKEN | st.binary(max_size=40)


@settings(max_examples=3000, deadline=None)
@given(OCTETS)
def test_the_same_as_its_twin(octets: bytes) -> None:
    assert read_result(octets) == twin.read_result(octets)


@settings(max_examples=3000, deadline=None)
@given(OCTETS)
def test_the_short_way_and_the_general_one_come_to_the_same(octets: bytes) -> None:
    try:
        general = read_any_provided(octets)
    except Malformed:
        with pytest.raises(Malformed):
            read_provided(octets)
        return
    assert read_provided(octets) == general


@pytest.mark.parametrize(("behind", "envelope"), [(None, 0), (b"", 1), (b"\xa0\x00", 1), (b"\xbf\x2b\x02\xa0\x00", 2)])
@pytest.mark.parametrize("named", [NAMED, b""])
def test_the_usual_result_is_read(named: bytes, behind: bytes | None, envelope: int) -> None:
    octets = message(
        (named, behind), b"eim.example.com", b"\x02", b"\x01" * 16, b"\x04", b"\x83\x01\x00\x84\x01\x05", b"s" * 64
    )
    read = read_result(octets)
    assert read is not None
    around, (signed, signature, raw), said, codes = read
    assert around == (EID if named else None, envelope)
    assert signature == b"s" * 64
    assert said == ("eim.example.com", 2, b"\x01" * 16, 4)
    assert codes == [(0x83, 0, b"\x83\x01\x00"), (0x84, 5, b"\x84\x01\x05")]
    assert signed in raw
    assert octets.endswith(raw + (behind or b""))


@pytest.mark.parametrize("cut", range(1, 140, 7))
def test_what_ends_too_soon_is_left_to_the_general_reader(cut: int) -> None:
    octets = message((NAMED, b""), b"eim.example.com", b"\x02", b"\x01" * 16, b"\x04", b"\x83\x01\x00", bytes(64))
    assert read_result(octets[:-cut]) is None


CAPTURED = ("08-psmo-enable", "12-psmo-disable", "16-psmo-enable-notfound", "20-psmo-delete", "30-eco-deleteEim")


@pytest.mark.parametrize("name", CAPTURED)
def test_what_others_send_is_in_the_plain_form(name: str) -> None:
    octets = bytes.fromhex((CAPTURES / f"{name}-result.request.hex").read_text())
    assert read_result(octets) is not None
    assert read_provided(octets) == read_any_provided(octets)
