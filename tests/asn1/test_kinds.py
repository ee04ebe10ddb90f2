"""The simple types, and the traps in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eim.asn1 import der
from eim.asn1.kinds import Bits, Boolean, Implicit, Integer, LooseText, Null, Octets, Oid, Text
from eim.asn1.schema import Kind
from eim.errors import Malformed


def read(kind: Kind, content: bytes) -> object:
    octets = der.wrap(0x80, content)
    return kind.read(octets, der.read_one(octets))


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_comes_back_and_is_as_short_as_can_be(number: int) -> None:
    content = Integer().write(number)
    assert read(Integer(), content) == number
    half = 1 << 8 * (len(content) - 1) >> 1  # what one octet less could hold
    assert len(content) == 1 or not -half <= number < half


@pytest.mark.parametrize(("number", "content"), [(128, "0080"), (-1, "FF"), (0, "00"), (127, "7F"), (-129, "FF7F")])
def test_the_integers_of_the_standard(number: int, content: str) -> None:
    assert Integer().write(number) == bytes.fromhex(content)


def test_an_integer_longer_than_need_be_is_read() -> None:
    assert read(Integer(), bytes.fromhex("00000005")) == 5
    assert read(Integer(), bytes.fromhex("FFFF80")) == -128


@pytest.mark.parametrize("size", [0, 9, 200])
def test_an_integer_of_no_octet_or_more_than_eight_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        read(Integer(), bytes(size))


@pytest.mark.parametrize("content", ["01", "FF", "80"])
def test_any_boolean_but_00_is_true(content: str) -> None:
    assert read(Boolean(), bytes.fromhex(content)) is True


def test_booleans_are_written_as_der_has_them() -> None:
    assert (Boolean().write(True), Boolean().write(False)) == (b"\xff", b"\0")
    for content in (b"", b"\0\0"):
        with pytest.raises(Malformed):
            read(Boolean(), content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xc0\x80", id="NUL overlong"),
        pytest.param(b"\xc1\xbf", id="overlong in two"),
        pytest.param(b"\xe0\x80\xaf", id="overlong in three"),
        pytest.param(b"\xf0\x80\x80\xaf", id="overlong in four"),
        pytest.param(b"\xed\xa0\x80", id="a surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond U+10FFFF"),
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b"a\x00b", id="NUL"),
    ],
)
def test_a_text_that_is_a_trap_is_refused_and_on_a_card_reads_as_none(content: bytes) -> None:
    with pytest.raises(Malformed):
        read(Text(), content)
    assert read(LooseText(), content) is None


def test_a_text_is_measured_in_characters() -> None:
    assert read(Text(1, 128), ("€" * 128).encode()) == "€" * 128
    for text in ("", "x" * 129):
        with pytest.raises(Malformed):
            read(Text(1, 128), text.encode())


def test_octets_outside_of_their_size_are_refused() -> None:
    assert read(Octets(1, 16), bytes(16)) == bytes(16)
    for size in (0, 17):
        with pytest.raises(Malformed):
            read(Octets(1, 16), bytes(size))


def test_a_null_has_no_content() -> None:
    assert read(Null(), b"") is True
    with pytest.raises(Malformed):
        read(Null(), b"\0")


@pytest.mark.parametrize(
    ("bits", "content"),
    [(frozenset({0}), "0780"), (frozenset({0, 1, 2}), "05E0"), (frozenset(), "00"), ({8}, "070080")],
)
def test_bits_are_written_without_trailing_zeros(bits: frozenset[int], content: str) -> None:
    assert Bits().write(frozenset(bits)) == bytes.fromhex(content)
    assert read(Bits(), bytes.fromhex(content)) == bits


@pytest.mark.parametrize("content", ["", "08FF", "01"])
def test_no_bit_string(content: str) -> None:
    with pytest.raises(Malformed):
        read(Bits(), bytes.fromhex(content))


def test_one_octet_per_bit_is_read_where_an_ipa_sends_it() -> None:
    assert read(Bits(octets_instead=6), bytes.fromhex("00 000100010000")) == {1, 3}
    assert read(Bits(octets_instead=5), bytes.fromhex("00 0100000000")) == {0}
    # not this form: a real BIT STRING of 48 bits, one of another size
    assert read(Bits(octets_instead=6), bytes.fromhex("00 020000000000")) == {6}
    assert read(Bits(octets_instead=6), bytes.fromhex("00 0001")) == {15}


@pytest.mark.parametrize("oid", ["2.23.146.1.2.1", "1.3.6.1.4.1.16384.5", "0.9", "2.999.3", "2.5.29.17"])
def test_an_object_identifier_comes_back(oid: str) -> None:
    assert read(Oid(), Oid().write(oid)) == oid


@pytest.mark.parametrize("content", [b"", b"\x88", b"\x88\x37\x81", b"\x01" * 65])
def test_no_object_identifier(content: bytes) -> None:
    with pytest.raises(Malformed):
        read(Oid(), content)


def test_a_certificate_is_read_with_and_without_its_outer_tag_and_written_without() -> None:
    parts = bytes.fromhex("3003020101 3000 03020000")
    whole = der.wrap(0x30, parts)
    for content in (parts, whole):
        octets = der.wrap(0xA5, content)
        assert Implicit().read(octets, der.read_one(octets)) == whole
    assert Implicit().write(whole) == parts


@pytest.mark.parametrize("octets", ["A500", "A503020101", "A5053003020101", "A504 3000 3000"])
def test_neither_certificate_nor_key(octets: str) -> None:
    raw = bytes.fromhex(octets)
    with pytest.raises(Malformed):
        Implicit().read(raw, der.read_one(raw))
