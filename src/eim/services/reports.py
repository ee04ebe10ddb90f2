"""What a device reports of itself when it polls: a change that nobody ordered, a new network (SGP.32 section 6.3.2.6).

Anybody can claim it for any EID, so it changes nothing by itself: it makes the card be asked, a bounded number of
times an hour, and what the card then says is told by its name.
"""

from typing import Final

from eim.domain import change
from eim.domain.change import Audit
from eim.domain.event import Happening
from eim.domain.operation import Kind
from eim.protocol.esipa import Poll
from eim.services.visit import Visit
from eim.store import associations, changes, events, requests, work
from eim.store.mailbox import Look
from eim.store.requests import Ask

_AN_HOUR: Final = 60  # events of one eUICC; beyond that a poll's changes are kept but not told
_AUDITS_AN_HOUR: Final = 12  # of each kind; beyond that they wait
_AUDIT_LATER: Final = 300.0  # seconds
_ASKS: Final = {
    Audit.PROFILES: (Ask.AUDIT, Kind.LIST_PROFILES),
    Audit.DATA: (Ask.INTRODUCE, Kind.DATA_REQUEST),
    Audit.EIMS: (Ask.EIMS, Kind.LIST_EIM),
}


def says_something(poll: Poll, look: Look) -> bool:
    """Whether a poll has to be written down before it is answered."""
    return poll.state_change or _moved(poll, look) or (poll.speaks is not None and look.speaks is None)


async def take(visit: Visit, poll: Poll, look: Look) -> None:
    """Write down what it says once, under the eUICC's lock."""
    if poll.speaks is not None and look.speaks is None:
        await associations.learn_speaks(visit.db, visit.bucket, visit.eid, poll.speaks)
    if poll.plmn is not None and _moved(poll, look):
        await associations.moved_to_plmn(visit.db, visit.bucket, visit.eid, poll.plmn)
        await _tell(visit, Happening.EUICC_NETWORK_CHANGED, _networks(poll.plmn, look.plmn))
    if poll.state_change:
        await _changed(visit, poll.cause)


async def audit(visit: Visit, audits: tuple[Audit, ...], reason: str) -> None:
    """Have the card asked: once, however often it is reported, and not more often than some times an hour."""
    for each in audits:
        ask, kind = _ASKS[each]
        if await work.pending(visit.db, visit.bucket, visit.eid, kind):
            continue  # what is on its way will show it
        often = await changes.asked_within_the_hour(visit.db, visit.bucket, visit.eid, kind)
        delay = 0.0 if often < _AUDITS_AN_HOUR else _AUDIT_LATER
        await requests.add(visit.db, visit.bucket, visit.eid, ask, reason, delay)
    await requests.hint(visit.db, visit.bucket)


def _moved(poll: Poll, look: Look) -> bool:
    return poll.plmn is not None and poll.plmn != look.plmn


def _networks(now: bytes, before: bytes | None) -> dict[str, object]:
    return {
        "plmn": now.hex(),
        "network": change.network_name(now),
        "before": change.network_name(before) if before else None,
    }


async def _changed(visit: Visit, said: int | None) -> None:
    number = change.number_of(said)
    cause = change.cause_of(number)
    again = visit.card.reported_cause == number and await changes.is_awaited(visit.db, visit.bucket, visit.eid)
    await audit(visit, cause.audits, f"notifyStateChange {cause.name}")
    if again:
        return
    await changes.reported(visit.db, visit.bucket, visit.eid, number)
    if number == change.RESET:
        await changes.reset(visit.db, visit.bucket, visit.eid)
    about: dict[str, object] = {"stateChangeCause": said, "cause": cause.name}
    await _tell(visit, Happening.EUICC_CHANGED, about)
    if cause.told is not None:
        await _tell(visit, cause.told, about)


async def _tell(visit: Visit, kind: Happening, about: dict[str, object]) -> None:
    if not await events.is_crowded(visit.db, visit.bucket, visit.eid, _AN_HOUR):
        await visit.record(kind, about)
        await visit.audit(kind.text, about)
