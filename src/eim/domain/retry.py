"""What is tried again by itself when a card says that it did not do it, how soon and how often.

Only what passes by itself is in the table; every other refusal is final, because the card would say the same again.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

_SPREAD: Final = 0.2  # of each pause, up or down: a fleet that was refused at once does not come back at once
MOST: Final = 20  # tries more that an order may ask for


class Rule(msgspec.Struct, frozen=True):
    """Pauses in seconds: the first, how much longer each next one is, the longest; and how many tries follow."""

    first: float
    growth: float
    longest: float
    most: int


# By the standard's name of the refusal (SGP.32 sections 2.11.1, 2.11.2).
RULES: Final[Mapping[str, Rule]] = {
    "catBusy": Rule(60, 2, 3_600, 8),  # the card was in the middle of a command of its device
    "profileChangeOngoing": Rule(60, 2, 1_800, 8),
    "ecallActive": Rule(60, 2, 3_600, 100),  # however long the call takes, this is no failure
    "interruption": Rule(60, 4, 3_600, 3),  # power was lost, for example
    "undefinedError": Rule(300, 4, 7_200, 2),  # a card that gives no reason twice gives none the third time
}


def pause(reason: str, attempts: int, retries: int | None, spread: float) -> float | None:
    """Seconds until the next try; None: it is final.

    attempts  tries before this one that were followed by another
    retries   how many tries more the order allows, whatever the reason; None: as many as the table says
    spread    -1 to 1: where in the spread this one lies
    """
    rule = RULES.get(reason)
    if rule is None or attempts >= (rule.most if retries is None else min(retries, MOST)):
        return None
    grown: float = rule.first * rule.growth**attempts
    return min(grown, rule.longest) * (1 + _SPREAD * spread)
