"""What each card really holds and did, read from a journal: the cards' own account, not the server's."""

from collections.abc import Iterable

import msgspec

from eim.sim.journal import Act, Changed, Entry, Executed, Personalised, Received, RolledBack, Verdict


class Truth(msgspec.Struct, frozen=True):
    """One card at the end of the journal."""

    eid: str
    iccids: tuple[str, ...]
    enabled: str | None
    eims: tuple[str, ...] = ()
    executed: int = 0
    refused: int = 0
    rolled_back: int = 0
    counter: int | None = None  # of the package executed last
    last: str = ""  # what it did last, in a few words


def truths(entries: Iterable[Entry]) -> list[Truth]:
    """One for each card, in the order in which they were made."""
    cards: dict[str, Truth] = {}
    for entry in entries:
        if isinstance(entry, Personalised):
            cards[entry.eid] = Truth(entry.eid, entry.iccids, entry.enabled)
        elif entry.eid in cards:
            cards[entry.eid] = _after(cards[entry.eid], entry)
    return list(cards.values())


def _after(card: Truth, entry: Received | Executed | RolledBack | Changed) -> Truth:
    match entry:
        case Received():
            if entry.verdict is Verdict.EXECUTED:
                return card
            return msgspec.structs.replace(card, refused=card.refused + 1, last=f"refused: {entry.verdict}")
        case Executed():
            for act in entry.acts:
                card = _acted(card, act)
            last = ", ".join(f"{act.kind} {act.code}" for act in entry.acts)
            done = card.executed + 1
            return msgspec.structs.replace(card, executed=done, counter=entry.counter, enabled=entry.enabled, last=last)
        case RolledBack():
            back = card.rolled_back + 1
            return msgspec.structs.replace(card, rolled_back=back, enabled=entry.enabled, last="rolled back")
        case Changed():
            return msgspec.structs.replace(
                card, iccids=entry.iccids, eims=entry.eims, enabled=entry.enabled, last=f"{entry.what} {entry.code}"
            )


def _acted(card: Truth, act: Act) -> Truth:
    """The lists after one operation; deleteEim's lastEimDeleted (2) is a success."""
    match act.kind, act.code:
        case "delete", 0:
            return msgspec.structs.replace(card, iccids=tuple(held for held in card.iccids if held != act.iccid))
        case "addEim", 0 if act.eim_id is not None:
            return msgspec.structs.replace(card, eims=(*card.eims, act.eim_id))
        case "deleteEim", 0 | 2:
            return msgspec.structs.replace(card, eims=tuple(eim for eim in card.eims if eim != act.eim_id))
        case _:
            return card
