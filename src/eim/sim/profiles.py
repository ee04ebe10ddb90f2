"""The profiles on a virtual card: values, and the ICCIDs made for them."""

from typing import Final

import msgspec

from eim.domain.ids import Iccid, format_iccid, parse_iccid
from eim.sim.der import bits, integer, text, tlv

_AID_HEAD: Final = bytes.fromhex("A0000005591010FFFFFFFF8900")  # then two octets from 0010 upwards, then 00
DEFAULT_TAGS: Final = bytes.fromhex(
    "5A4F9F709192959F7B9F269F67"
)  # of listProfileInfo without a tag list (SGP.32 5.9.14)
PPR_NO_DISABLE: Final = 1  # ppr1: the profile must not be disabled
PPR_NO_DELETE: Final = 2


class Profile(msgspec.Struct, frozen=True):
    """One installed profile."""

    iccid: Iccid
    aid: bytes  # of its ISD-P, 16 octets
    enabled: bool
    provider: str
    name: str
    nickname: str | None = None
    profile_class: int = 2  # 0 test, 1 provisioning, 2 operational
    ppr: frozenset[int] = frozenset()
    notify: str | None = "smdp.example.com"  # where its notifications go; None: it asks for none
    fallback: bool = False  # carries the Fallback Attribute
    fallback_allowed: bool = False

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
    members = [
        (0x5A, tlv(0x5A, profile.iccid)),
        (0x4F, tlv(0x4F, profile.aid)),
        (0x9F70, integer(0x9F70, int(profile.enabled))),
        (0x91, text(0x91, profile.provider)),
        (0x92, text(0x92, profile.name)),
        (0x95, integer(0x95, profile.profile_class)),
    ]
    if profile.nickname is not None:
        members.insert(3, (0x90, text(0x90, profile.nickname)))
    if profile.ppr:
        members.append((0x99, bits(0x99, *profile.ppr)))
    if profile.fallback:
        members.append((0x9F26, tlv(0x9F26, b"\xff")))
    if profile.fallback_allowed:
        members.append((0x9F67, tlv(0x9F67, b"\xff")))
    return members
