"""What an operator asks of eUICCs, read line by line. Pure; services/operations.py places it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain import lasting
from eim.domain.euicc import Profile
from eim.domain.guards import Holds, assuming, choose, refuse_harm
from eim.domain.ids import Eid, Iccid, eid_check_digits_hold, format_eid, format_iccid, parse_iccid
from eim.domain.opening import Opening, zone_named
from eim.domain.operation import OF_A_PROFILE, Kind, Priority
from eim.domain.step import (
    OF_PROFILES,
    DataRequest,
    ListEim,
    ListProfileInfo,
    Step,
    check_package,
    plain_step,
    refuse_unspoken,
)
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


UNNAMED: Final = Iccid(b"")  # in a step: the profile that the order names


class Template(msgspec.Struct, frozen=True):
    """A step as it was asked for; the profile it is about may be found on each card."""

    step: Step  # its ICCID may be UNNAMED
    service_provider: str | None = None  # then: whose profile

    @property
    def is_open(self) -> bool:
        """Whether the order has to say which profile is meant."""
        return self.service_provider is None and isinstance(self.step, OF_PROFILES) and self.step.iccid == UNNAMED


class Ordering(msgspec.Struct, frozen=True):
    """One request: the same for one eUICC or for many.

    `kind` alone says what is asked where a profile is all there is to name; otherwise `steps` do.
    """

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
    expires_in: str | None = None  # in place of `expires_at`: as "18 months"
    opening: Opening | None = None  # when it may go out; None: always
    retries: int | None = None  # tries more at most, whatever the reason; None: by the reason
    steps: tuple[Template, ...] = ()  # of one package; none: what `kind` says

    @property
    def packages(self) -> tuple[tuple[Template, ...], ...]:
        """What each card is asked, an operation each."""
        if self.steps:
            return (self.steps,)
        if self.kind is Kind.CHECK:
            return tuple((Template(step),) for step in _CHECK)
        step = plain_step(self.kind, UNNAMED, rollback=self.rollback)
        return () if step is None else ((Template(step),),)


_CHECK: Final[tuple[Step, ...]] = (DataRequest(), ListProfileInfo(), ListEim())


class Wanted(msgspec.Struct, frozen=True):
    """A line that could be read."""

    position: int
    eid: Eid
    iccid: Iccid | None


class Known(msgspec.Struct, frozen=True):
    """What is known of the cards that an order names, by EID; who is missing has none."""

    cards: Mapping[Eid, Locked]
    profiles: Mapping[Eid, Sequence[Profile]]
    queued: Mapping[Eid, Sequence[Step]]
    done_before: Mapping[Eid, Sequence[Step]] = {}  # what an order comes after

    def holds(self, at: Locked) -> Holds:
        profiles = self.profiles.get(at.eid, ()) if at.inventory_at is not None else None
        eims = None if at.eims is None else [eim.eim_id for eim in at.eims]
        card = Holds(profiles, self.queued.get(at.eid, ()), at.eim_id, eims)
        return assuming(card, self.done_before.get(at.eid, ()))


class Decided(msgspec.Struct, frozen=True):
    """A line that will become operations, one for each package."""

    position: int
    at: Locked
    packages: tuple[tuple[Step, ...], ...]


def check(asked: Ordering, now: datetime) -> None:
    """Refuse what makes no sense whatever the cards hold. Raises InvalidRequest."""
    if not asked.packages:
        raise InvalidRequest(f"{asked.kind.value} needs more words than its name: order it by its steps")
    for package in asked.packages:
        check_package([template.step for template in package])
    _check_profile(asked)
    if asked.rollback and asked.kind is not Kind.ENABLE:
        raise InvalidRequest("rollback belongs to enable only")
    if asked.after is not None and (isinstance(asked.targets, Estate) or len(asked.targets) != 1):
        raise InvalidRequest("'after' names an operation of one eUICC: order for that one alone, or order a chain")
    if asked.expires_in is not None and asked.expires_at is not None:
        raise InvalidRequest("'expires_at' and 'expires_in' say the same: give one of them")
    if asked.after_event is not None:
        check_event(asked.after_event)
    for moment in (asked.not_before, asked.expires_at):
        if moment is not None and not _EARLIEST <= moment <= _LATEST:
            raise InvalidRequest("a time lies between the years 2000 and 2200")
    if asked.expires_at is not None and asked.expires_at <= max(asked.not_before or now, now):
        raise InvalidRequest("'expires_at' has to lie in the future, and after 'not_before'")


def _check_profile(asked: Ordering) -> None:
    named = [asked.iccid is not None, asked.service_provider is not None, _names_profiles(asked)]
    is_open = any(template.is_open for package in asked.packages for template in package)
    if is_open and sum(named) != 1:
        raise InvalidRequest(
            f"{asked.kind.value} needs one profile: an ICCID, a service provider, or an ICCID in every line"
        )
    if any(named) and asked.kind not in OF_A_PROFILE and not is_open:
        raise InvalidRequest(f"{asked.kind.value} is about the whole card: name no profile")
    if any(named) and not is_open:
        raise InvalidRequest("every step names its profile already: name none for all")


def timed(asked: Ordering, now: datetime) -> Ordering:
    """The order with its end as a moment, counted from `now`, or from `not_before`. Raises InvalidRequest."""
    if asked.expires_in is None or asked.expires_at is not None:
        return asked
    ends = lasting.after(asked.expires_in, max(asked.not_before or now, now))
    return msgspec.structs.replace(asked, expires_at=ends, expires_in=None)


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
    before: dict[Eid, list[Step]] = {}
    for line in wanted:
        try:
            at = _find(known.cards, line.eid)
            _refuse_zoneless(asked, at)
            holds = known.holds(at)
            earlier = before.setdefault(line.eid, [])
            holds = msgspec.structs.replace(holds, queued=[*holds.queued, *earlier])
            packages = tuple(_resolved(asked, package, line.iccid, holds) for package in asked.packages)
            for steps in packages:
                _judge(asked, steps, at, holds)
                earlier.extend(steps)
        except EimError as error:
            problems.add(line.position, error)
        else:
            decided.append(Decided(line.position, at, packages))
    return decided


def _judge(asked: Ordering, steps: Sequence[Step], at: Locked, holds: Holds) -> None:
    check_package(steps)
    refuse_unspoken(steps, at.speaks)
    if asked.force_reason is None:
        refuse_harm(steps, holds)


def _resolved(asked: Ordering, package: Sequence[Template], named: Iccid | None, holds: Holds) -> tuple[Step, ...]:
    """The steps with the profile that each means on this card."""
    steps: list[Step] = []
    for template in package:
        found = template.step
        if template.service_provider is not None or template.is_open:
            provider = template.service_provider or asked.service_provider
            iccid = named if template.is_open and named is not None else _chosen(provider, holds.profiles)
            found = msgspec.structs.replace(found, iccid=iccid)
        steps.append(found)
    return tuple(steps)


def size(decided: Sequence[Decided]) -> int:
    """How many operations these lines become."""
    return sum(len(line.packages) for line in decided)


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


def _refuse_zoneless(asked: Ordering, at: Locked) -> None:
    if asked.opening is not None and not asked.opening.utc and zone_named(at.time_zone) is None:
        raise InvalidRequest(
            f"EID {format_eid(at.eid)} has no time zone: write it (eim devices edit --time-zone), or say UTC"
        )


def _chosen(service_provider: str | None, profiles: Sequence[Profile] | None) -> Iccid:
    if profiles is None or service_provider is None:
        raise NotFound("the profiles of this card are not known yet: wait for its first report, or name the ICCID")
    return choose(profiles, service_provider)
