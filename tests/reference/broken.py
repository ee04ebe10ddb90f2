"""Messages with something wrong in them: every truncation, bit and TLV in turn."""

from collections.abc import Iterator
from typing import Final

from eim.asn1 import der
from eim.errors import Malformed

_CONSTRUCTED: Final = 0x20


def truncations(octets: bytes) -> Iterator[bytes]:
    return (octets[:size] for size in range(len(octets)))


def flips(octets: bytes) -> Iterator[bytes]:
    for at in range(len(octets) * 8):
        broken = bytearray(octets)
        broken[at // 8] ^= 0x80 >> at % 8
        yield bytes(broken)


def restructured(octets: bytes) -> Iterator[bytes]:
    """`octets` with each element in turn doubled, dropped, swapped with the next, and given another class."""
    node = der.read_one(octets)
    yield from (der.wrap(node[0], content) for content in _changed(octets, node))


def _changed(octets: bytes, node: der.Node) -> Iterator[bytes]:
    try:
        held = der.inside(octets, node)
    except Malformed:
        return
    parts = [der.whole(octets, child) for child in held]
    for at, part in enumerate(parts):
        before, behind = parts[:at], parts[at + 1 :]
        yield b"".join([*before, part, part, *behind])
        yield b"".join([*before, *behind])
        yield b"".join([*before, bytes([part[0] ^ 0x40]) + part[1:], *behind])
        yield b"".join([*before, bytes([part[0] ^ 0x80]) + part[1:], *behind])
        if behind:
            yield b"".join([*before, behind[0], part, *behind[1:]])
        if part[0] & _CONSTRUCTED:
            for changed in _changed(octets, held[at]):
                yield b"".join([*before, der.wrap(held[at][0], changed), *behind])
