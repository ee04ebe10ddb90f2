"""What an operation may have to wait for before it can go out: another one, the card itself, an event, an operator."""

from enum import StrEnum
from typing import Final

from eim.domain.event import Happening
from eim.errors import InvalidRequest

CONTACT: Final = "contact"  # the card calls, whatever it says

# Events of a card that an operation can wait for: what the card or its device says, not what became of operations.
AWAITED: Final = (
    Happening.EUICC_INTRODUCED,
    Happening.EUICC_PROVEN,
    Happening.EUICC_CHANGED,
    Happening.EUICC_NETWORK_CHANGED,
    Happening.EUICC_DEVICE_CHANGED,
    Happening.EUICC_FALLBACK_ENTERED,
    Happening.EUICC_FALLBACK_LEFT,
    Happening.EUICC_IMMEDIATELY_ENABLED,
    Happening.EUICC_ECALL_ENDED,
    Happening.DOWNLOAD_REPORTED,
    Happening.NOTIFICATION_STORED,
)


class Held(StrEnum):
    """What an accepted operation waits for now. It is neither sealed nor in anybody's way meanwhile."""

    OPERATION = "operation"  # the one it comes after is not done yet
    CONTACT = "contact"
    EVENT = "event"
    OPERATOR = "operator"  # it could not be worked on several times in a row, and is parked


def held_at_first(after_event: str | None, *, open_before: bool) -> Held | None:
    """What a new operation waits for. `open_before`: the one it comes after has not ended."""
    if open_before:
        return Held.OPERATION
    if after_event is None:
        return None
    return Held.CONTACT if after_event == CONTACT else Held.EVENT


def check_event(name: str) -> None:
    """Raises InvalidRequest for what no operation can wait for."""
    known = [CONTACT, *(happening.text for happening in AWAITED)]
    if name not in known:
        raise InvalidRequest(f"'after_event' is one of {', '.join(known)}, not {name!r}")
