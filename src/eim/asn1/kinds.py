"""The simple types: how a TLV's content and a Python value map (X.690 section 8). Tags are the schema's matter."""

from typing import Final

import msgspec

from eim.asn1 import der
from eim.asn1.der import Node
from eim.errors import Malformed

_WIDEST: Final = 8  # octets of an INTEGER: what a database bigint holds
_BIT_STRING: Final = 0x03


class Integer(msgspec.Struct, frozen=True):
    """Two's complement. Longer than need be is read, more than 8 octets is not."""

    def read(self, data: bytes, node: Node) -> int:
        content = der.value(data, node)
        if not 1 <= len(content) <= _WIDEST:
            raise Malformed(f"an INTEGER of {len(content)} octets")
        return int.from_bytes(content, "big", signed=True)

    def write(self, value: int) -> bytes:
        return value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True)


class Octets(msgspec.Struct, frozen=True):
    """OCTET STRING, and whatever else we keep as content octets."""

    least: int = 0
    most: int = 1 << 20

    def read(self, data: bytes, node: Node) -> bytes:
        size = node[3] - node[2]
        if not self.least <= size <= self.most:
            raise Malformed(f"{size} octets at tag {node[0]:X}, not {self.least} to {self.most}")
        return der.value(data, node)

    def write(self, value: bytes) -> bytes:
        return value


class Text(msgspec.Struct, frozen=True):
    """UTF8String of so many characters. Overlong forms, surrogates and NUL are refused."""

    least: int = 0
    most: int = 1 << 20

    def read(self, data: bytes, node: Node) -> str:
        try:
            text = der.value(data, node).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed(f"no UTF-8 at tag {node[0]:X}") from None
        if not self.least <= len(text) <= self.most or "\0" in text:
            raise Malformed(f"a text of {len(text)} characters at tag {node[0]:X} that can't be taken")
        return text

    def write(self, value: str) -> bytes:
        return value.encode("utf-8")


class LooseText(msgspec.Struct, frozen=True):
    """UTF8String that somebody else put on the card: one that Text would refuse reads as None, and hurts nobody."""

    def read(self, data: bytes, node: Node) -> str | None:
        try:
            return Text().read(data, node)
        except Malformed:
            return None

    def write(self, value: str) -> bytes:
        return value.encode("utf-8")


class Null(msgspec.Struct, frozen=True):
    """Its being there is the value: True."""

    def read(self, data: bytes, node: Node) -> bool:
        if node[2] != node[3]:
            raise Malformed(f"a NULL with content at tag {node[0]:X}")
        return True

    def write(self, value: bool) -> bytes:  # noqa: FBT001  a value, no behaviour
        return b""


class Boolean(msgspec.Struct, frozen=True):
    """Anything but 00 is true."""

    def read(self, data: bytes, node: Node) -> bool:
        content = der.value(data, node)
        if len(content) != 1:
            raise Malformed(f"a BOOLEAN of {len(content)} octets")
        return content != b"\0"

    def write(self, value: bool) -> bytes:  # noqa: FBT001  a value, no behaviour
        return b"\xff" if value else b"\0"


class Bits(msgspec.Struct, frozen=True):
    """A named BIT STRING as the numbers of its set bits; written without trailing zero bits.

    octets_instead  one IPA sends an octet 00 or 01 for each of this many bits: read so when all of it fits
    """

    octets_instead: int = 0

    def read(self, data: bytes, node: Node) -> frozenset[int]:
        content = der.value(data, node)
        if not content or content[0] > 7 or (len(content) == 1 and content[0]):
            raise Malformed(f"no BIT STRING at tag {node[0]:X}")
        if content[0] == 0 and len(content) == self.octets_instead + 1 and set(content) <= {0, 1}:
            return frozenset(i for i, octet in enumerate(content[1:]) if octet)
        size = 8 * (len(content) - 1) - content[0]
        return frozenset(i for i in range(size) if content[1 + i // 8] & 0x80 >> i % 8)

    def write(self, value: frozenset[int]) -> bytes:
        if not value:
            return b"\0"
        size = max(value) + 1
        octets = bytearray((size + 7) // 8)
        for i in value:
            octets[i // 8] |= 0x80 >> i % 8
        return bytes((-size % 8,)) + octets


class Oid(msgspec.Struct, frozen=True):
    """OBJECT IDENTIFIER as dotted numbers."""

    def read(self, data: bytes, node: Node) -> str:
        arcs = list(_arcs(der.value(data, node)))
        top = min(arcs[0] // 40, 2)
        return ".".join(str(arc) for arc in (top, arcs[0] - 40 * top, *arcs[1:]))

    def write(self, value: str) -> bytes:
        top, second, *rest = (int(arc) for arc in value.split("."))
        return b"".join(_base128(arc) for arc in (40 * top + second, *rest))


def _arcs(content: bytes) -> list[int]:
    if not content or content[-1] & 0x80 or len(content) > 64:
        raise Malformed("no OBJECT IDENTIFIER")
    arcs, arc = [], 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    return arcs


def _base128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(number & 0x7F | 0x80)
    return bytes(reversed(octets))


class Implicit(msgspec.Struct, frozen=True):
    """A certificate or a key whose outer 30 a tag replaced (its parts lie side by side); our value has the 30.

    A nested 30, which some send, is read as well.
    """

    def read(self, data: bytes, node: Node) -> bytes:
        held = der.inside(data, node)
        if len(held) == 1 and held[0][0] == der.SEQUENCE:
            node = held[0]
            held = der.inside(data, node)
        if len(held) < 2 or held[-1][0] != _BIT_STRING:
            raise Malformed(f"neither certificate nor key at tag {node[0]:X}")
        return der.wrap(der.SEQUENCE, der.value(data, node))

    def write(self, value: bytes) -> bytes:
        node = der.read_one(value)
        if node[0] != der.SEQUENCE:
            raise Malformed("neither certificate nor key: it doesn't start with 30")
        return der.value(value, node)
