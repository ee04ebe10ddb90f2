"""An order looked at before it is placed: how many, which, and who would refuse. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from eim.domain.euicc import Profile, ProfileState
from eim.domain.ids import Eid
from eim.domain.step import Disable, Enable, SetFallbackAttribute, Step
from eim.services.lines import OnError, Problem, Problems
from eim.services.ordering import Decided, Known, Ordering, size

_NAMED: Final = 20  # EIDs and refusals that are given word for word
LOOKED_AT: Final = 2000  # cards that the preview of an order for very many looks at
_UNKNOWN: Final = "(not known yet)"
_NONE: Final = "(none enabled)"
_NO_NAME: Final = "(no name)"


class Preview(msgspec.Struct, frozen=True):
    """What an order would do."""

    lines: int  # that it names
    operations: int  # that it would place, were it ordered like this
    carriers: Mapping[str, int]  # by the profile enabled now
    already: int  # cards that are as the operation would leave them
    queued: int  # cards that have a change waiting already
    refused: Mapping[str, int]  # by the code of the reason
    examples: tuple[Eid, ...]
    problems: tuple[Problem, ...]  # the first ones
    confirm: int | None  # what the order has to repeat; None: it may go without
    looked_at: int | None = None  # cards, the others being too many; None: all


def preview(  # noqa: PLR0913 - a preview is a sum of all that is known
    asked: Ordering, lines: int, known: Known, decided: Sequence[Decided], problems: Problems, limit: int
) -> Preview:
    """Sum up what `decided` and `problems` say."""
    found = problems.all()
    stands = bool(decided) and (not found or asked.on_error is OnError.SKIP)
    return Preview(
        lines=lines,
        operations=size(decided) if stands else 0,
        carriers=Counter(_carrier(known, line) for line in decided),
        already=sum(_is_already(known, line) for line in decided),
        queued=sum(bool(known.queued.get(line.at.eid)) for line in decided),
        refused=Counter(problem.code for problem in found),
        examples=tuple(line.at.eid for line in decided[:_NAMED]),
        problems=found[:_NAMED],
        confirm=size(decided) if stands and size(decided) > limit else None,
    )


def of_many(asked: Ordering, looked: Preview, cards: int) -> Preview:
    """The preview of an order for so many cards that only the first ones were looked at."""
    many = cards * len(asked.packages)
    refused = sum(looked.refused.values()) * len(asked.packages)
    return msgspec.structs.replace(
        looked, lines=cards, operations=many - refused, confirm=many, looked_at=min(LOOKED_AT, cards)
    )


def _carrier(known: Known, line: Decided) -> str:
    if line.at.inventory_at is None:
        return _UNKNOWN
    enabled = (p for p in known.profiles.get(line.at.eid, ()) if p.state is ProfileState.ENABLED)
    return next((p.service_provider or _NO_NAME for p in enabled), _NONE)


def _is_already(known: Known, line: Decided) -> bool:
    profiles = known.profiles.get(line.at.eid, ())
    return all(_holds_already(profiles, step) for steps in line.packages for step in steps)


def _holds_already(profiles: Sequence[Profile], step: Step) -> bool:
    match step:
        case Enable():
            return any(p.iccid == step.iccid and p.state is ProfileState.ENABLED for p in profiles)
        case Disable():
            return any(p.iccid == step.iccid and p.state is ProfileState.DISABLED for p in profiles)
        case SetFallbackAttribute():
            return any(p.iccid == step.iccid and p.fallback for p in profiles)
        case _:
            return False
