"""How a description is read: order, absence, repetition, what nobody knows."""

import msgspec
import pytest

from eim.asn1 import der
from eim.asn1.kinds import Integer, Null, Octets
from eim.asn1.schema import Choice, Explicit, Group, Kept, ListOf, Member, Opaque, Sequence, Tagged
from eim.errors import Malformed


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int | None = None
    bold: bool = False
    left: bytes | None = None
    right: bytes | None = None
    depth: int | None = None
    raw: bytes = b""


POINT = Tagged(
    0x30,
    Sequence(
        Point,
        (
            Member("x", Tagged(0x80, Integer())),
            Member("y", Tagged(0x81, Integer(), also=(0x91,)), None),
            Member("bold", Tagged(0x82, Null()), False),
            Member("left", Tagged(0x04, Octets()), None),
            Member("right", Tagged(0x04, Octets()), None),
            Group(0xA3, (Member("depth", Tagged(0x80, Integer()), None),)),
        ),
    ),
)


def read(octets: str) -> Point:
    raw = bytes.fromhex(octets)
    point: Point = POINT.read(raw, der.read_one(raw))
    return point


def test_members_are_written_in_their_order_and_absent_ones_not_at_all() -> None:
    assert POINT.write(Point(1)) == bytes.fromhex("3003 800101")
    full = Point(1, 2, True, b"l", b"r", 3)
    assert POINT.write(full) == bytes.fromhex("3013 800101 810102 8200 04016C 040172 A303 800103")
    assert read(POINT.write(full).hex()) == full


def test_members_are_read_in_any_order() -> None:
    assert read("3006 810102 800101") == Point(1, 2)


def test_an_element_nobody_knows_is_skipped_wherever_it_is() -> None:
    assert read("300B 990109 800101 BF7F00 8F00") == Point(1)


def test_a_mandatory_member_may_not_be_missing() -> None:
    with pytest.raises(Malformed):
        read("3003 810102")


def test_a_member_said_twice_is_refused() -> None:
    with pytest.raises(Malformed):
        read("3006 800101 800102")


def test_a_member_is_found_under_the_tag_of_another_version() -> None:
    assert read("3006 800101 910105") == Point(1, 5)


def test_a_constructed_octet_string_has_another_tag_and_is_none_of_ours() -> None:
    assert read("3008 800101 2403 040161") == Point(1)
    with pytest.raises(Malformed):
        read("3005 A003 020101")


def test_kept_octets_win_over_the_members() -> None:
    kept = Kept(POINT)
    octets = bytes.fromhex("308106 800101 990109")
    point: Point = kept.read(octets, der.read_one(octets))
    assert kept.write(point) == octets
    assert kept.write(Point(1)) == bytes.fromhex("3003 800101")


def test_a_choice_goes_by_tag_and_by_class() -> None:
    class Other(msgspec.Struct, frozen=True):
        pass

    choice = Choice({Point: POINT, Other: Tagged(0xA1, Sequence(Other))})
    assert choice.write(Other()) == b"\xa1\x00"
    assert choice.read(b"\xa1\x00", der.read_one(b"\xa1\x00")) == Other()
    with pytest.raises(Malformed):
        choice.read(b"\xa2\x00", der.read_one(b"\xa2\x00"))


def test_a_list_refuses_what_it_has_no_element_for() -> None:
    numbers = ListOf(Tagged(0x02, Integer()))
    octets = bytes.fromhex("3006 020101 020102")
    assert numbers.read(octets, der.read_one(octets)) == (1, 2)
    octets = bytes.fromhex("3006 020101 040102")
    with pytest.raises(Malformed):
        numbers.read(octets, der.read_one(octets))


def test_an_explicit_tag_holds_one_element() -> None:
    explicit = Explicit(Opaque((0x02,)))
    octets = bytes.fromhex("A003 020101")
    assert explicit.read(octets, der.read_one(octets)) == bytes.fromhex("020101")
    for wrong in ("A000", "A006 020101 020101", "A003 040101"):
        octets = bytes.fromhex(wrong)
        with pytest.raises(Malformed):
            explicit.read(octets, der.read_one(octets))
