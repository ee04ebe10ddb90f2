"""The device's own hand in DER: written apart from `eim.asn1`, so that the server's codec meets octets it didn't make.

It also writes what no correct encoder would: the deviations of SGP.32 peers that a server must bear.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from eim.errors import Malformed

_LONG: Final = 0x1F  # the low bits of a tag's first octet that announce more tag octets


class Tlv(msgspec.Struct, frozen=True):
    """One data object as it was received."""

    tag: int  # the tag octets as one number: 0x30, 0xBF51, 0x5F37
    value: bytes
    raw: bytes  # tag, length and value


def tlv(tag: int, *parts: bytes) -> bytes:
    """The data object `tag` whose value is `parts` in a row; definite, shortest length."""
    value = b"".join(parts)
    head = tag.to_bytes((tag.bit_length() + 7) // 8 or 1, "big")
    size = len(value)
    if size < 0x80:
        return head + bytes((size,)) + value
    long = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return head + bytes((0x80 | len(long),)) + long + value


def integer(tag: int, value: int) -> bytes:
    """An INTEGER under `tag`: two's complement, as few octets as it takes (128 is 00 80)."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def bits(tag: int, *positions: int) -> bytes:
    """A named BIT STRING with `positions` set, trailing zero bits dropped as DER wants."""
    last = max(positions)
    number = sum(1 << (last - position) for position in positions)
    unused = -(last + 1) % 8
    return tlv(tag, bytes((unused,)), (number << unused).to_bytes((last + 8) // 8, "big"))


def text(tag: int, value: str) -> bytes:
    """A UTF8String under `tag`."""
    return tlv(tag, value.encode())


def read(octets: bytes) -> Iterator[Tlv]:
    """The data objects in `octets`, one behind the other. Raises Malformed when one doesn't fit."""
    at = 0
    while at < len(octets):
        tag, start = _tag(octets, at)
        size, start = _length(octets, start)
        if start + size > len(octets):
            raise Malformed(f"the data object at octet {at} ends behind the message")
        yield Tlv(tag, octets[start : start + size], octets[at : start + size])
        at = start + size


def whole(octets: bytes, tag: int) -> Tlv:
    """`octets` as exactly one data object `tag`. Raises Malformed otherwise."""
    found = list(read(octets))
    if len(found) != 1 or found[0].tag != tag:
        raise Malformed(f"expected one data object {tag:X}")
    return found[0]


def _tag(octets: bytes, at: int) -> tuple[int, int]:
    end = at + 1
    if octets[at] & _LONG == _LONG:
        while end < len(octets) and octets[end] & 0x80:
            end += 1
        end += 1
    if end >= len(octets):
        raise Malformed(f"the data object at octet {at} has no length")
    return int.from_bytes(octets[at:end], "big"), end


def _length(octets: bytes, at: int) -> tuple[int, int]:
    first = octets[at]
    if first < 0x80:
        return first, at + 1
    count = first & 0x7F
    if not 1 <= count <= 4 or at + 1 + count > len(octets):
        raise Malformed(f"the length at octet {at} is indefinite or too long")
    return int.from_bytes(octets[at + 1 : at + 1 + count], "big"), at + 1 + count
