"""Signs that two cards share one EID, and what follows of each (SGP.32 reference 13.3: a second key is an alarm)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec


class Why(StrEnum):
    """What is suspicious. Public: in events, in the configuration; never reused."""

    SECOND_KEY = "second-key"
    TWO_RESULTS = "two-results"
    COUNTER = "foreign-counter"
    SEQUENCE = "sequence-back"
    INVENTORY = "other-inventory"
    NETWORKS = "two-networks"
    SOURCES = "two-sources"


MEANINGS: Final[Mapping[Why, str]] = {
    Why.SECOND_KEY: "another certificate of the same issuer, sound and with another key, came for the EID",
    Why.TWO_RESULTS: "the card signed two results for one counter, and none of them is a rollback",
    Why.COUNTER: "the card signed a result for a counter that was never handed out",
    Why.SEQUENCE: "the card's own sequence number went back, though its counter went on",
    Why.INVENTORY: "the card lists none of the profiles it listed before, and no reset was reported",
    Why.NETWORKS: "polls alternate between two networks (PLMN) faster than one device can",
    Why.SOURCES: "polls alternate between two addresses faster than one device usually does",
}
QUARANTINED: Final = (Why.SECOND_KEY, Why.TWO_RESULTS)  # no card alone can do these


class SuspicionRules(msgspec.Struct, frozen=True):
    """What the configuration says about suspicions."""

    quarantine: tuple[Why, ...] = QUARANTINED  # the others are told, and nothing more
    flips: int = 6  # alternations within the window that are suspicious; 0: sources are not watched
    window: float = 600.0  # seconds
