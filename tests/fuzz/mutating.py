"""Octets with something else in them, drawn from a seed: what a fuzzer does when it sees nothing of the code."""

from collections.abc import Sequence
from random import Random
from typing import Final

_TELLING: Final = (0x00, 0x01, 0x7F, 0x80, 0x81, 0x82, 0x84, 0x88, 0xFF, 0x1F, 0x30, 0xA0, 0xBF)


def mutated(draw: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with one to four changes."""
    octets = draw.choice(seeds)
    for _ in range(draw.randint(1, 4)):
        octets = _change(draw, octets, seeds)
    return octets


def _change(draw: Random, octets: bytes, seeds: Sequence[bytes]) -> bytes:
    at = draw.randrange(len(octets) + 1)
    size = draw.choice((1, 1, 2, 3, 8, 32))
    match draw.randrange(6):
        case 0:
            return octets[:at] + bytes([draw.choice(_TELLING)]) + octets[at + 1 :]
        case 1:
            return octets[:at] + draw.randbytes(size) + octets[at:]
        case 2:
            return octets[:at] + octets[at + size :]
        case 3:
            return octets[:at] + octets[at : at + size] * draw.choice((2, 2, 50)) + octets[at + size :]
        case 4:
            return octets[:at] + bytes([draw.randrange(256)]) + octets[at + 1 :]
        case _:
            other = draw.choice(seeds)
            return octets[:at] + other[draw.randrange(len(other) + 1) :]
