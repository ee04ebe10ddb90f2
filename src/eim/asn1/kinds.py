"""The simple types: how a TLV's content and a Python value map (X.690 section 8). Tags are the schema's matter.

Those that nearly every message has are native; the rest is here.
"""

from typing import Final

import msgspec

from eim._fast.kinds import Boolean, Integer, LooseText, Null, Octets, Text
from eim.asn1 import der
from eim.asn1.der import Node
from eim.errors import Malformed

__all__ = ["Bits", "Boolean", "Implicit", "Integer", "LooseText", "Null", "Octets", "Oid", "Text"]

_BIT_STRING: Final = 0x03


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
