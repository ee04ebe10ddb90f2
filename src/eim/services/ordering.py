"""What an operator asks of eUICCs, read line by line. Pure; services/operations.py places it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.euicc import Profile
from eim.domain.guards import Holds, Queued, assuming, choose, refuse_harm
from eim.domain.ids import Eid, Iccid, eid_check_digits_hold, format_eid, format_iccid, parse_iccid
from eim.domain.operation import CHANGING, Kind, Priority
from eim.domain.waiting import check_event
from eim.errors import EimError, InvalidRequest, NotFound, Unconfirmed
from eim.services.lines import OnError, Problems, name_duplicates, read_eids
from eim.store.euiccs import Locked

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


class Target(msgspec.Struct, frozen=True):
    """One line, as it was written. `iccid` where each line names its own profile."""

    eid: str
    iccid: str | None = None


class Estate(msgspec.Struct, frozen=True):
    """Every eUICC of the tenant, or every one with this tag."""

    tag: str | None = None


class Ordering(msgspec.Struct, frozen=True):
    """One request: the same for one eUICC or for many."""

    kind: Kind
    targets: tuple[Target, ...] | Estate
    iccid: str | None = None  # of the profile that is meant on every card
    service_provider: str | None = None  # or whose profile, found in each card's inventory
    rollback: bool = False  # enable only: the card goes back by itself when it can't attach
    priority: int = Priority.NORMAL
    not_before: datetime | None = None
    expires_at: datetime | None = None
    on_error: OnError = OnError.REFUSE
    force_reason: str | None = None  # why a guard is overruled; None: guards hold
    confirm: int | None = None  # how many operations whoever orders expects
    after: UUID | None = None  # another operation of the one eUICC that is meant, which has to be done before
    after_event: str | None = None  # what has to happen before: `contact`, or an event of the card


class Wanted(msgspec.Struct, frozen=True):
    """A line that could be read."""

    position: int
    eid: Eid
    iccid: Iccid | None


class Known(msgspec.Struct, frozen=True):
    """What is known of the cards that an order names, by EID; who is missing has none."""

    cards: Mapping[Eid, Locked]
    profiles: Mapping[Eid, Sequence[Profile]]
    queued: Mapping[Eid, Sequence[Queued]]
    done_before: Mapping[Eid, Sequence[Queued]] = {}  # changes that an order comes after

    def holds(self, at: Locked) -> Holds:
        profiles = self.profiles.get(at.eid, ()) if at.inventory_at is not None else None
        return assuming(Holds(profiles, self.queued.get(at.eid, ())), self.done_before.get(at.eid, ()))


class Decided(msgspec.Struct, frozen=True):
    """A line that will become an operation."""

    position: int
    at: Locked
    iccid: Iccid | None


def check(asked: Ordering, now: datetime) -> None:
    """Refuse what makes no sense whatever the cards hold. Raises InvalidRequest."""
    named = [asked.iccid is not None, asked.service_provider is not None, _names_profiles(asked)]
    if asked.kind in CHANGING and sum(named) != 1:
        raise InvalidRequest(
            f"{asked.kind.value} needs one profile: an ICCID, a service provider, or an ICCID in every line"
        )
    if asked.kind not in CHANGING and any(named):
        raise InvalidRequest(f"{asked.kind.value} is about the whole card: name no profile")
    if asked.rollback and asked.kind is not Kind.ENABLE:
        raise InvalidRequest("rollback belongs to enable only")
    if asked.after is not None and (isinstance(asked.targets, Estate) or len(asked.targets) != 1):
        raise InvalidRequest("'after' names an operation of one eUICC: order for that one alone, or order a chain")
    if asked.after_event is not None:
        check_event(asked.after_event)
    for moment in (asked.not_before, asked.expires_at):
        if moment is not None and not _EARLIEST <= moment <= _LATEST:
            raise InvalidRequest("a time lies between the years 2000 and 2200")
    if asked.expires_at is not None and asked.expires_at <= max(asked.not_before or now, now):
        raise InvalidRequest("'expires_at' has to lie in the future, and after 'not_before'")


def read(asked: Ordering, targets: Sequence[Target], problems: Problems) -> list[Wanted]:
    """The lines that can be read; the others are noted with what is wrong with them."""
    common = parse_iccid(asked.iccid) if asked.iccid is not None else None
    eids = read_eids([target.eid for target in targets], problems)
    if not _names_profiles(asked):
        name_duplicates(eids, problems)
    wanted = []
    for position, (target, eid) in enumerate(zip(targets, eids, strict=True)):
        iccid = _iccid(position, target, problems) or common
        if eid is not None and not problems.has(position):
            wanted.append(Wanted(position, eid, iccid))
    _name_repeats(wanted, problems)
    return [line for line in wanted if not problems.has(line.position)]


def decide(asked: Ordering, wanted: Sequence[Wanted], known: Known, problems: Problems) -> list[Decided]:
    """Which profile each line means, and whether its card may be asked that; the others are noted.

    Lines of the same card are judged one behind the other: each finds those before it queued.
    """
    decided: list[Decided] = []
    before: dict[Eid, list[Queued]] = {}
    for line in wanted:
        try:
            at = _find(known.cards, line.eid)
            holds = known.holds(at)
            iccid = line.iccid or _chosen(asked, holds.profiles)
            if iccid is not None:
                change = Queued(asked.kind, iccid)
                earlier = before.setdefault(line.eid, [])
                if asked.force_reason is None:
                    refuse_harm(change, Holds(holds.profiles, [*holds.queued, *earlier]))
                earlier.append(change)
        except EimError as error:
            problems.add(line.position, error)
        else:
            decided.append(Decided(line.position, at, iccid))
    return decided


def refuse_unconfirmed(confirm: int | None, many: int, limit: int) -> None:
    """Raise Unconfirmed unless an order for more than `limit`, or one that says a number, says how many it is for."""
    if confirm == many or (confirm is None and many <= limit):
        return
    said = "" if confirm is None else f", not for {confirm}"
    raise Unconfirmed(
        f"this order is for {many} operations{said}: look at POST /v1/operations:preview, and if that is what you "
        f'want, order it with "confirm": {many}'
    )


def _names_profiles(asked: Ordering) -> bool:
    return not isinstance(asked.targets, Estate) and any(target.iccid is not None for target in asked.targets)


def _iccid(position: int, target: Target, problems: Problems) -> Iccid | None:
    if target.iccid is None:
        return None
    try:
        return parse_iccid(target.iccid)
    except EimError as error:
        problems.add(position, error)
        return None


def _name_repeats(wanted: Sequence[Wanted], problems: Problems) -> None:
    """The same profile of the same card twice in one request is a slip, not two orders."""
    first: dict[tuple[Eid, Iccid | None], int] = {}
    for line in wanted:
        before = first.setdefault((line.eid, line.iccid), line.position)
        if before != line.position:
            what = f"profile {format_iccid(line.iccid)}" if line.iccid else "this"
            text = f"EID {format_eid(line.eid)} was asked {what} in line {before + 1} already: name it once"
            problems.add(line.position, InvalidRequest(text))


def _find(locked: Mapping[Eid, Locked], eid: Eid) -> Locked:
    if eid in locked:
        return locked[eid]
    slip = "" if eid_check_digits_hold(eid) else "; its check digits don't match, so a digit is mistyped"
    raise NotFound(f"EID {format_eid(eid)} is not onboarded{slip}")


def _chosen(asked: Ordering, profiles: Sequence[Profile] | None) -> Iccid | None:
    if asked.service_provider is None:
        return None
    if profiles is None:
        raise NotFound("the profiles of this card are not known yet: wait for its first report, or name the ICCID")
    return choose(profiles, asked.service_provider)
