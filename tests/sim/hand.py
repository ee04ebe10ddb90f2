"""An eIM made by hand for these tests: it signs with `cryptography` alone and keeps no state but its key."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eim.domain.ids import Eid, Iccid
from eim.sim.der import Tlv, integer, read, text, tlv, whole
from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Journal
from eim.sim.pki import EIN, Pki, eids
from eim.sim.profiles import Profile, aid, make_iccid
from eim.sim.switches import STANDARD, Switches

EIM_ID: Final = "eim.example.com"
TRANSACTION: Final = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
A: Final = make_iccid("8999001", 1)
B: Final = make_iccid("8999002", 1)
NOON: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)


class HandEim(msgspec.Struct, frozen=True):
    key: ec.EllipticCurvePrivateKey
    eim_id: str = EIM_ID

    @classmethod
    def new(cls, eim_id: str = EIM_ID) -> "HandEim":
        return cls(ec.generate_private_key(ec.SECP256R1()), eim_id)

    @classmethod
    def on_brainpool(cls, eim_id: str = EIM_ID) -> "HandEim":
        return cls(ec.generate_private_key(ec.BrainpoolP256R1()), eim_id)

    def adding(self, eid: Eid, counter: int, other: "HandEim") -> bytes:
        """BF51 with addEim for `other`, under token 1."""
        (outer,) = read(other.configuration())
        (listed,) = read(outer.value)
        (config,) = read(listed.value)
        changes = tlv(0xA1, tlv(0xA8, config.value))
        return self.seal(tlv(0x30, text(0x80, self.eim_id), tlv(0x5A, eid), integer(0x81, counter), changes))

    def configuration(self, *more: bytes, counter: int = 0, token: bytes = integer(0x84, -1)) -> bytes:
        """BF57 for one eIM that asks for a token."""
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        (outer,) = read(spki)
        members = (text(0x80, self.eim_id), integer(0x82, 2), integer(0x83, counter), token)
        return tlv(0xBF57, tlv(0xA0, tlv(0x30, *members, tlv(0xA5, tlv(0xA0, outer.value)), *more)))

    def package(
        self, eid: Eid, counter: int, *operations: bytes, token: int = 1, transaction: bytes | None = TRANSACTION
    ) -> bytes:
        """BF51 with profile operations."""
        named = b"" if transaction is None else tlv(0x82, transaction)
        listed = tlv(0xA0, *operations)
        signed = tlv(0x30, text(0x80, self.eim_id), tlv(0x5A, eid), integer(0x81, counter), named, listed)
        return self.seal(signed, token)

    def seal(self, signed: bytes, token: int = 1) -> bytes:
        r, s = decode_dss_signature(self.key.sign(signed + integer(0x84, token), ec.ECDSA(SHA256())))
        return tlv(0xBF51, signed, tlv(0x5F37, r.to_bytes(32, "big"), s.to_bytes(32, "big")))


def enable(iccid: Iccid) -> bytes:
    return tlv(0xA3, tlv(0x5A, iccid))


def enable_or_return(iccid: Iccid) -> bytes:
    return tlv(0xA3, tlv(0x5A, iccid), tlv(0x05))


def disable(iccid: Iccid) -> bytes:
    return tlv(0xA4, tlv(0x5A, iccid))


def delete(iccid: Iccid) -> bytes:
    return tlv(0xA5, tlv(0x5A, iccid))


LIST: Final = tlv(0xBF2D)


def new_journal() -> Journal:
    return Journal(lambda: NOON)


def profile(iccid: Iccid, enabled: bool, number: int = 0) -> Profile:
    return Profile(iccid, aid(number), enabled, "Carrier", "plan")


def new_card(
    eim: HandEim,
    switches: Switches = STANDARD,
    profiles: tuple[Profile, ...] = (),
    journal: Journal | None = None,
    number: int = 0,
) -> VirtualEuicc:
    """A card with profile A enabled and B disabled, unless others are given, that knows `eim` under token 1."""
    held = profiles or (profile(A, True), profile(B, False, 1))
    credentials = Pki.new().credentials(eids(EIN, number + 1)[number])
    card = VirtualEuicc(credentials, held, journal or new_journal(), switches)
    assert card.add_initial_eim(eim.configuration()) == bytes.fromhex("BF5705A003840101")
    return card


class Result(msgspec.Struct, frozen=True):
    """A BF51 from a card, taken apart."""

    shape: int  # the tag inside BF51
    data: bytes  # what the signature covers, without the token
    members: dict[int, bytes]
    results: tuple[bytes, ...]
    signature: bytes

    @property
    def seq(self) -> int:
        return int.from_bytes(self.members[0x83], "big")

    @property
    def error(self) -> int:
        return int.from_bytes(self.members[0x02], "big")


def open_result(octets: bytes) -> Result:
    (outer,) = read(whole(octets, 0xBF51).value)
    if outer.tag == 0xA2:
        return Result(outer.tag, b"", {found.tag: found.value for found in read(outer.value)}, (), b"")
    data, signature = read(outer.value)
    members = {found.tag: found.value for found in read(data.value)}
    results = tuple(found.raw for found in read(members.get(0x30, b"")))
    return Result(outer.tag, data.raw, members, results, signature.value)


def holds(key: ec.EllipticCurvePublicKey, tbs: bytes, signature: bytes) -> bool:
    """Judged by `cryptography` alone."""
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key.verify(der, tbs, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def children(octets: bytes) -> list[Tlv]:
    (outer,) = read(octets)
    return list(read(outer.value))
