"""The slow, obvious twin of `eim._fast.package`: one package at a time, TLV in TLV."""

import msgspec

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EcoList, PsmoList
from tests.reference import der


class UnsignedPackage(msgspec.Struct, frozen=True):
    """A package waiting for the eIM's signature."""

    signed: bytes  # DER EuiccPackageSigned, byte for byte as it will travel
    tbs: bytes  # `signed`, then the associationToken object (tag 84)


def assemble(
    at: tuple[str, bytes, int | None], package: PsmoList | EcoList, counter: int, transaction: bytes | None
) -> UnsignedPackage:
    """Encode `package`, ready to be signed. `at`: the eimId, the EID and the association token."""
    eim_id, eid, token = at
    named = b"" if transaction is None else der.wrap(0x82, transaction)
    inside = der.wrap(0x80, eim_id.encode()) + der.wrap(0x5A, eid) + der.wrap(0x81, _integer(counter)) + named
    signed = der.wrap(0x30, inside + sgp32.encode(package))
    return UnsignedPackage(signed, signed + der.wrap(0x84, _integer(token or 0)))


def seal(unsigned: UnsignedPackage, signature: bytes) -> bytes:
    """The complete BF51 TLV. `signature` is r || s, 64 octets; ValueError for another size."""
    if len(signature) != 64:
        raise ValueError(f"a signature has 64 octets, r || s, not {len(signature)}")
    return der.wrap(0xBF51, unsigned.signed + der.wrap(0x5F37, signature))


def _integer(value: int) -> bytes:
    """Two's complement, one octet more until it fits."""
    size = 1
    while not -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
        size += 1
    return value.to_bytes(size, "big", signed=True)
