"""A notification on its way to its SM-DP+: how it stands, why it waits, when it is tried again (SGP.32 section 3.7)."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec

_FIRST_PAUSE: Final = 5.0  # seconds after the first failure; then twice as long each time
_MOST_DOUBLINGS: Final = 40
_JITTER: Final = 0.3


class State(StrEnum):
    STORED = "stored"  # came, and nobody has looked at where it goes
    WAITING = "waiting"  # for its turn, or for the next try
    HELD = "held"  # it may not go, or not yet; `reason` says why
    DELIVERED = "delivered"  # its SM-DP+ has answered that it took it
    GIVEN_UP = "given_up"  # an operator said so


class Verdict(StrEnum):
    """What is known of the card's signature."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"  # with what is known of the card it can't be said
    REFUSED = "refused"  # the certificate that it brings is the card's, and the signature isn't that key's


class Reason(StrEnum):
    """Why a notification is held. Public: documented, stable, never reused."""

    UNREADABLE = "unreadable"
    NO_ADDRESS = "no-address"
    INVALID_ADDRESS = "invalid-address"
    NOT_ALLOWED = "not-allowed"
    DISABLED = "disabled"
    CERTIFICATE_UNKNOWN = "certificate-unknown"
    SESSION_UNKNOWN = "session-unknown"
    SIGNATURE_WRONG = "signature-wrong"
    UNVERIFIED = "unverified"
    ASKED = "asked"  # an operator wants it looked at again; only for a moment


class Explained(msgspec.Struct, frozen=True):
    """What a reason means, who can do something about it, and what."""

    means: str
    owner: str
    next_step: str


EXPLAINED: Final[Mapping[Reason, Explained]] = {
    Reason.UNREADABLE: Explained(
        "it can't be read as a notification, so nobody knows for whom it is",
        "the card's maker",
        "look at it with `eim decode`; give it up when it is of no use",
    ),
    Reason.NO_ADDRESS: Explained(
        "it names no SM-DP+", "the profile's owner", "give it up: without an address it goes nowhere"
    ),
    Reason.INVALID_ADDRESS: Explained(
        "what it has in the place of an address names no host",
        "the profile's owner",
        "give it up, and have the profile's notification address corrected",
    ),
    Reason.NOT_ALLOWED: Explained(
        "nobody has allowed calls to the SM-DP+ that it names",
        "you",
        "`eim smdps add ADDRESS` if this is an SM-DP+ of yours: it goes at once; otherwise give it up",
    ),
    Reason.DISABLED: Explained(
        "calls to its SM-DP+ are switched off", "you", "`eim smdps change ADDRESS --enable` when it is well again"
    ),
    Reason.CERTIFICATE_UNKNOWN: Explained(
        "it is in the compact form, and the card's certificates are not known: without them it can't be made whole",
        "the card",
        "nothing: it goes when the card has shown its certificates",
    ),
    Reason.SESSION_UNKNOWN: Explained(
        "it is a compact report of a download that didn't go through this eIM, so what it leaves out is not known",
        "whoever ran the download",
        "give it up: the SM-DP+ has the download's end from elsewhere, or never",
    ),
    Reason.SIGNATURE_WRONG: Explained(
        "its signature is not the card's, so its SM-DP+ would refuse it",
        "the card's maker",
        "have a trace of the device looked at; it may also have been made up by somebody: then give it up",
    ),
    Reason.UNVERIFIED: Explained(
        "it is not proven to be the card's, and only proven ones go (notifications.forward)",
        "the card",
        "wait until the card has shown its certificate, then `eim notifications retry ID`",
    ),
    Reason.ASKED: Explained("an operator asked for another look", "nobody", "nothing"),
}

# What is held for one of these goes later, so those behind it wait; any other may never go and holds up nobody.
BLOCKING: Final = (Reason.NOT_ALLOWED, Reason.DISABLED, Reason.CERTIFICATE_UNKNOWN, Reason.ASKED)


def pause(attempts: int, longest: timedelta, random: float) -> timedelta:
    """How long to wait after `attempts` failures in a row: twice as long each time, up to `longest`.

    random  from 0 to 1; shortens it by up to three tenths, so that what failed together doesn't come back together
    """
    grown = _FIRST_PAUSE * 2.0 ** min(max(attempts, 1) - 1, _MOST_DOUBLINGS)
    return timedelta(seconds=min(grown, longest.total_seconds()) * (1 - _JITTER * random))
