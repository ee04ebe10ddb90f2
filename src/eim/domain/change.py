"""What changed on a card though nobody ordered it: the device's word for it, and what is looked at then.

SGP.32 section 6.3.2.6. docs/suspicion.md has this table; a test compares.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from eim.domain.event import Happening

FALLBACK: Final = 1
RESET: Final = 4
DEVICE_CHANGE: Final = 6
UNDEFINED: Final = 127
_SMALLEST, _LARGEST = 0, 32_767  # what is kept of a number that the standard doesn't have


class Audit(StrEnum):
    """What is looked at again, by something that changes nothing on the card."""

    PROFILES = "profiles"  # listProfileInfo
    DATA = "data"  # IpaEuiccDataRequest
    EIMS = "eims"  # listEim


class Cause(msgspec.Struct, frozen=True):
    """One stateChangeCause. `told` is its own event, where the cause alone says what happened."""

    name: str
    audits: tuple[Audit, ...]
    told: Happening | None = None


_ALL: Final = (Audit.PROFILES, Audit.DATA, Audit.EIMS)
CAUSES: Final[Mapping[int, Cause]] = {
    0: Cause("otherEim", (Audit.PROFILES, Audit.EIMS), Happening.EUICC_CHANGED_ELSEWHERE),
    FALLBACK: Cause("fallback", (Audit.PROFILES,)),  # to it or from it: the inventory says which
    2: Cause("emergencyProfile", (Audit.PROFILES,), Happening.EUICC_EMERGENCY_PROFILE),
    3: Cause("local", (Audit.PROFILES,), Happening.EUICC_CHANGED_LOCALLY),
    RESET: Cause("reset", _ALL, Happening.EUICC_RESET),
    5: Cause("immediateEnableProfile", (Audit.PROFILES,), Happening.EUICC_IMMEDIATELY_ENABLED),
    DEVICE_CHANGE: Cause("deviceChange", (Audit.PROFILES, Audit.DATA)),  # the new device says itself what it is
    UNDEFINED: Cause("undefined", (Audit.PROFILES, Audit.DATA)),
}


def number_of(said: int | None) -> int:
    """The cause as it is kept: v1.0.1 names none, and a device may name one that no version has."""
    return UNDEFINED if said is None or not _SMALLEST <= said <= _LARGEST else said


def cause_of(number: int) -> Cause:
    """What a cause means; one that no version of the standard has is as good as undefined."""
    return CAUSES.get(number, msgspec.structs.replace(CAUSES[UNDEFINED], name=f"cause{number}"))


def network_name(plmn: bytes) -> str:
    """MCC-MNC of the 3 octets of TS 24.008, as 262-01; the octets in hex where they are no such number."""
    digits = "".join(f"{octet & 0x0F:x}{octet >> 4:x}" for octet in plmn)
    mcc, last, mnc = digits[:3], digits[3:4], digits[4:]
    text = mcc + mnc + ("" if last == "f" else last)
    return f"{mcc}-{text[3:]}" if text.isdigit() else plmn.hex().upper()
