"""Reliability 29: the ways to write a thing in BER, and what is decided about each; docs/encodings.md lists them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from eim.asn1 import der, sgp32
from eim.asn1.kinds import Bits, Boolean, Integer, Null, Octets, Oid, Text
from eim.asn1.schema import Explicit, Kind, ListOf, Opaque, Tagged
from eim.errors import Malformed
from eim.protocol.esipa import Poll, Provided, UnnamedPoll, receive
from tests.asn1.test_limits import nested

PAGE: Final = Path(__file__).parents[2] / "docs" / "encodings.md"
EID: Final = bytes.fromhex("89049032123451234512345678901235")
SAID: Final = f"5A10{EID.hex()}"
REFUSED: Final = "refused"
_ROW: Final = re.compile(r"\| (?P<name>[^|]+) \| (?P<decided>read|skipped|absent|refused)\b")
_MISSING_EID: Final = 4


class Case(msgspec.Struct, frozen=True):
    """`decided` is the page's word; `judge` fails when that isn't so, and raises Malformed for what is refused."""

    name: str
    decided: str
    judge: Callable[[], None]


def poll(octets: str, **said: object) -> Callable[[], None]:
    """The poll in `octets` says this, beside the EID."""

    def judge() -> None:
        received = receive(bytes.fromhex(octets))
        assert isinstance(received, Poll)
        assert received.eid == EID
        assert {name: getattr(received, name) for name in said} == said

    return judge


def nameless(octets: str) -> Callable[[], None]:
    """The poll in `octets` has no EID where one is looked for."""

    def judge() -> None:
        received = receive(bytes.fromhex(octets))
        assert isinstance(received, UnnamedPoll)
        assert received.error == _MISSING_EID

    return judge


def message(octets: str | bytes) -> Callable[[], None]:
    def judge() -> None:
        receive(bytes.fromhex(octets) if isinstance(octets, str) else octets)

    return judge


def content(kind: Kind, octets: str, value: Any = None, tag: int = 0x80) -> Callable[[], None]:
    """`octets` as the content of a TLV are this value."""

    def judge() -> None:
        whole = der.wrap(tag, bytes.fromhex(octets))
        assert kind.read(whole, (tag, 0, len(whole) - len(bytes.fromhex(octets)), len(whole))) == value

    return judge


def signed(data: str, counter: int | None) -> Callable[[], None]:
    """A result whose signed part is `data`: its counter, or None when only its octets are kept."""

    def judge() -> None:
        octets = bytes.fromhex(data)
        received = receive(der.wrap(0xBF50, der.wrap(0xBF51, der.wrap(0xA0, octets + b"\x5f\x37\x40" + bytes(64)))))
        assert isinstance(received, Provided)
        if counter is None:
            assert isinstance(received.payload, sgp32.Unreadable)
        else:
            assert isinstance(received.payload, sgp32.ResultSigned)
            assert (received.payload.signed, received.payload.data.counter) == (octets, counter)

    return judge


CASES: Final = [
    Case("an indefinite length of a whole message", REFUSED, message(f"BF4F80 {SAID} 0000")),
    Case("an indefinite length inside", REFUSED, message(f"BF4F18 {SAID} 3080 0000 0500")),
    Case("an indefinite length of a primitive", REFUSED, message("BF4F04 5A80 0000")),
    Case("a length in one octet more than need be", "read", poll(f"BF4F8112 {SAID}")),
    Case("a length in four octets, three of them zero", "read", poll(f"BF4F8400000012 {SAID}")),
    Case("a length in five octets, four of them zero", REFUSED, message(f"BF4F850000000012 {SAID}")),
    Case("a length in eight octets", REFUSED, message("BF4F88FFFFFFFFFFFFFFFF 00")),
    Case("the reserved length FF", REFUSED, message(f"BF4FFF {SAID}")),
    Case("four gigabytes claimed in ten octets", REFUSED, message("BF4F84FFFFFFFF 000000")),
    Case("an element longer than what it is in", REFUSED, message(f"BF4F14 {SAID} 8001")),
    Case("a message that ends too early", REFUSED, message(f"BF4F13 {SAID}")),
    Case("octets behind the message", REFUSED, message(f"BF4F12 {SAID} 00")),
    Case("two messages in one body", REFUSED, message(f"BF4F12 {SAID} BF4F12 {SAID}")),
    Case("an octet left over inside", REFUSED, message(f"BF4F13 {SAID} 80")),
    Case("zeros as padding inside", REFUSED, message(f"BF4F14 {SAID} 0000")),
    Case("the tag 00", REFUSED, message("0000")),
    Case("a tag number below 31 in the long form", "skipped", nameless(f"BF4F13 5F1A10 {EID.hex()}")),
    Case("a tag number that begins with a zero", REFUSED, message(f"BF4F14 5F801A10 {EID.hex()}")),
    Case("a tag number of 15 to 21 bits", "skipped", poll(f"BF4F17 {SAID} 1FFFFF7F00")),
    Case("a tag number of more than 21 bits", REFUSED, message(f"BF4F18 {SAID} 1FFFFFFF7F00")),
    Case("an element of another class", "skipped", nameless(f"BF4F12 9A10 {EID.hex()}")),
    Case("a primitive element in constructed form", "skipped", nameless(f"BF4F14 7A12 0410{EID.hex()}")),
    Case("a string in pieces", "skipped", poll(f"BF4F19 {SAID} A205 820162 8200", plmn=None)),
    Case("a constructed element in primitive form", REFUSED, content(ListOf(Opaque((0x04,))), "040161")),
    Case("an element nobody knows", "skipped", poll(f"BF4F15 {SAID} 9F5500")),
    Case("an element nobody knows in a list", REFUSED, content(ListOf(Opaque((0x04,))), "0500", tag=0xA0)),
    Case("a tag of two octets twice, one in the other", "read", poll(f"BF4F15 BF4F12 {SAID}")),
    Case("sixteen levels of nesting", "read", message(nested(b"\xbf\x50", 16))),
    Case("seventeen levels of nesting", REFUSED, message(nested(b"\xbf\x50", 17))),
    Case("members in another order", "read", poll(f"BF4F17 8203 62F210 {SAID}", plmn=bytes.fromhex("62F210"))),
    Case("a member twice in what is signed", REFUSED, signed("3012 80026531 810101 810102 830107 3003830100", None)),
    Case("a member twice in a poll", "absent", poll(f"BF4F1C {SAID} 820362F210 820362F220", plmn=b"\x62\xf2\x10")),
    Case("a mandatory member that is missing", REFUSED, signed("300C 80026531 830107 3003830100", None)),
    Case("two elements under an explicit tag", REFUSED, content(Explicit(Opaque((4,))), "0400 0400", tag=0xA0)),
    Case("an INTEGER with zeros in front", "read", signed("3012 80026531 810400000001 830107 3003830100", 1)),
    Case("a negative INTEGER with ones in front", "read", content(Integer(), "FFFF80", -128)),
    Case("an INTEGER of no octet", REFUSED, content(Integer(), "")),
    Case("an INTEGER of nine octets", REFUSED, content(Integer(), "00" * 9)),
    Case("a BOOLEAN of 01", "read", content(Boolean(), "01", value=True)),
    Case("a BOOLEAN of two octets", REFUSED, content(Boolean(), "FFFF")),
    Case("a NULL with content", REFUSED, content(Null(), "00")),
    Case("a NULL with content in a poll", "absent", poll(f"BF4F15 {SAID} 800100", state_change=False)),
    Case("a BIT STRING with ones behind its end", "read", content(Bits(), "07FF", frozenset({0}))),
    Case("a BIT STRING with zeros at its end", "read", content(Bits(), "00800000", frozenset({0}))),
    Case("a BIT STRING of no octet", REFUSED, content(Bits(), "")),
    Case("a BIT STRING with eight unused bits", REFUSED, content(Bits(), "0880")),
    Case("a BIT STRING with unused bits of none", REFUSED, content(Bits(), "01")),
    Case("an OBJECT IDENTIFIER with zeros in front of a number", "read", content(Oid(), "2A8001", "1.2.1")),
    Case("an OBJECT IDENTIFIER that ends too early", REFUSED, content(Oid(), "2A86")),
    Case("a text in overlong UTF-8", REFUSED, content(Text(), "C080")),
    Case("a text with half a surrogate pair", REFUSED, content(Text(), "EDA080")),
    Case("a text with a NUL", REFUSED, content(Text(), "610062")),
    Case("a text of another direction (bidi)", "read", content(Text(), "E280AE61", "\u202ea")),
    Case("a text of 128 characters in 512 octets", "read", content(Text(1, 128), "F09F9880" * 128, "😀" * 128)),
    Case("a text of 129 characters", REFUSED, content(Text(1, 128), "61" * 129)),
    Case("octets of another number than the standard's", REFUSED, content(Octets(3, 3), "62F2")),
    Case(
        "a number at a tag that another version uses", "read", content(Tagged(0x82, Integer(), also=(0x84,)), "05", 5)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_way_to_write_a_thing_is_taken_as_decided(case: Case) -> None:
    if case.decided == REFUSED and case.judge.__qualname__.partition(".")[0] != "signed":
        with pytest.raises(Malformed):
            case.judge()
    else:
        case.judge()  # of what is signed and can't be read only the octets are kept: nobody is sent away


def test_the_page_lists_every_case_with_its_decision_and_no_other() -> None:
    listed = [(row["name"], row["decided"]) for row in map(_ROW.match, PAGE.read_text().splitlines()) if row]
    assert listed == [(case.name, case.decided) for case in CASES]
    assert len(listed) >= 30
