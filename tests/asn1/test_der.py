"""What the TLV layer writes and refuses."""

import pytest

from eim.asn1 import der
from eim.errors import Malformed


@pytest.mark.parametrize(
    ("size", "length"), [(0, "00"), (127, "7F"), (128, "8180"), (255, "81FF"), (256, "820100"), (65_536, "83010000")]
)
def test_lengths_are_as_short_as_can_be(size: int, length: str) -> None:
    assert der.wrap(0xBF51, bytes(size)).startswith(b"\xbf\x51" + bytes.fromhex(length))


def test_a_doubled_tag_is_one() -> None:
    octets = der.wrap(0xBF51, der.wrap(0xBF51, b"\xa2\x00"))
    node = der.undouble(octets, der.read_one(octets))
    assert der.whole(octets, node) == bytes.fromhex("BF5102A200")


def test_a_primitive_holds_nothing() -> None:
    octets = b"\x04\x02\x05\x00"
    with pytest.raises(Malformed):
        der.inside(octets, der.read_one(octets))
