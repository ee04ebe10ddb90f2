"""The count by which a card tells new packages from old ones, and how ours finds the card's again (SGP.32 2.11.1.1)."""

from typing import Final

CEILING: Final = 8_388_607  # of counterValue: the least that every card takes, and all we use
LAST: Final = CEILING - 1  # of ordinary packages: the very last one is kept for the package that renews the association
ALARM: Final = CEILING * 9 // 10
MARGINS: Final = (1_000, 10_000, 100_000, 1_000_000)  # passed over, try by try, for a card that is ahead of us


def beyond(counter: int, tries: int) -> int | None:
    """Where to go on with a card that calls `counter` a replay, after `tries` in vain; None: there is no way on."""
    if tries >= len(MARGINS) or counter >= LAST:
        return None
    return min(counter + MARGINS[tries], LAST)


def below(accepted: int, refused: int, tries: int) -> int | None:
    """Where to go back to with a card whose maximum lies under `refused`: half way to what it accepted last.

    None: nothing is left between the two, or it was tried often enough.
    """
    middle = accepted + (refused - accepted) // 2
    return middle if accepted < middle < refused - 1 and tries < len(MARGINS) else None
