"""The profiles on a virtual card: values, and the ICCIDs made for them."""

from typing import Final

import msgspec

from eim.domain.ids import Iccid, format_iccid, parse_iccid
from eim.sim.der import bits, integer, text, tlv

_AID_HEAD: Final = bytes.fromhex("A0000005591010FFFFFFFF8900")  # then two octets from 0010 upwards, then 00
DEFAULT_TAGS: Final = bytes.fromhex(
    "5A4F9F709192959F7B9F269F67"
)  # of listProfileInfo without a tag list (SGP.32 5.9.14)
V1_1_TAGS: Final = frozenset({0x9F7B, 0x9F26, 0x9F67})  # that a card of v1.0.1 doesn't know
OPERATIONAL: Final = 2
PPR_NO_DISABLE: Final = 1  # ppr1: the profile must not be disabled
PPR_NO_DELETE: Final = 2
_PNG: Final = 1


class Profile(msgspec.Struct, frozen=True):
    """One installed profile."""

    iccid: Iccid
    aid: bytes  # of its ISD-P, 16 octets
    enabled: bool
    provider: str
    name: str
    nickname: str | None = None
    profile_class: int = OPERATIONAL  # 0 test, 1 provisioning
    ppr: frozenset[int] = frozenset()
    notify: str | None = "smdp.example.com"  # where its notifications go; None: it asks for none
    fallback: bool = False  # carries the Fallback Attribute
    fallback_allowed: bool = False
    emergency: bool = False  # for emergency calls (9F7B); never listed as anything else
    owner: bytes | None = None  # MCC and MNC as in TS 24.008, 3 octets
    icon: bytes | None = None  # a PNG
    dp_oid: bytes | None = None  # content of the OID of dpProprietaryData

    @property
    def label(self) -> str:
        return format_iccid(self.iccid)


def aid(number: int) -> bytes:
    """The AID of the ISD-P `number`, counted from 0."""
    return _AID_HEAD + (0x10 + number).to_bytes(2, "big") + b"\x00"


def make_iccid(issuer: str, number: int) -> Iccid:
    """An ICCID of 19 digits behind the issuer's digits, with the Luhn digit ITU-T E.118 wants."""
    body = f"{issuer}{number:0{18 - len(issuer)}d}"
    return parse_iccid(body + _luhn(body))


def _luhn(body: str) -> str:
    doubled = (int(digit) * (2 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(body)))
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def profile_info(profile: Profile, tags: frozenset[int]) -> bytes:
    """The E3 of one profile with the members `tags` names and the profile has, in the module's order."""
    return tlv(0xE3, *(octets for tag, octets in _members(profile) if tag in tags))


def _members(profile: Profile) -> list[tuple[int, bytes]]:
    made = [
        (0x5A, tlv(0x5A, profile.iccid)),
        (0x4F, tlv(0x4F, profile.aid)),
        (0x9F70, integer(0x9F70, int(profile.enabled))),
        (0x90, b"" if profile.nickname is None else text(0x90, profile.nickname)),
        (0x91, text(0x91, profile.provider)),
        (0x92, text(0x92, profile.name)),
        (0x93, b"" if profile.icon is None else integer(0x93, _PNG)),
        (0x94, b"" if profile.icon is None else tlv(0x94, profile.icon)),
        (0x95, integer(0x95, profile.profile_class)),
        (0xB6, _notifications(profile)),
        (0xB7, b"" if profile.owner is None else tlv(0xB7, tlv(0x80, profile.owner))),
        (0xB8, b"" if profile.dp_oid is None else tlv(0xB8, tlv(0x80, profile.dp_oid))),
        (0x99, bits(0x99, *profile.ppr) if profile.ppr else b""),
        (0x9F7B, tlv(0x9F7B, b"\xff") if profile.emergency else b""),
        (0x9F26, tlv(0x9F26, b"\xff") if profile.fallback else b""),
        (0x9F67, tlv(0x9F67, b"\xff") if profile.fallback_allowed else b""),
    ]
    return [(tag, octets) for tag, octets in made if octets]


def _notifications(profile: Profile) -> bytes:
    """Which changes are told to whom; v2 of SGP.22 wants one address a change."""
    if profile.notify is None:
        return b""
    return tlv(0xB6, *(tlv(0x30, bits(0x80, event), text(0x81, profile.notify)) for event in range(4)))
