"""What cards and agents answer tells what had happened: fallback, another device, a rollback."""

from collections.abc import Mapping, Sequence
from typing import Final

from eim.asn1.sgp32 import ResultSigned
from eim.domain import change, device, inventory
from eim.domain.euicc import Profile
from eim.domain.event import Happening
from eim.domain.ids import format_iccid
from eim.domain.operation import Kind
from eim.services import contradictions, reports
from eim.services.visit import Visit
from eim.store import changes, work

_PERHAPS_FALLBACK: Final = (None, change.FALLBACK, change.UNDEFINED)  # other causes say themselves what it was


async def by_inventory(visit: Visit, before: Sequence[Profile], now: Sequence[Profile]) -> None:
    """The card has listed its profiles: what was reported is explained, and fallback called by its name."""
    reported = visit.card.reported_cause
    if reported is None and visit.card.reset_at is None:
        await contradictions.look_at_inventory(visit, before, now)
    if reported in _PERHAPS_FALLBACK:
        await _name_fallback(visit, inventory.enabled(before), inventory.enabled(now))
    if reported is not None and not await work.pending(visit.db, visit.bucket, visit.eid, Kind.LIST_PROFILES):
        await changes.reported(visit.db, visit.bucket, visit.eid, None)


async def by_data(visit: Visit, said: Mapping[str, object]) -> None:
    """The agent has told of device and capabilities: other ones than before are another device, or agent."""
    differs = device.difference(visit.card.capabilities, said)
    if differs or visit.card.reported_cause == change.DEVICE_CHANGE:
        await visit.record(Happening.EUICC_DEVICE_CHANGED, {"differs": differs})


async def by_result(visit: Visit, result: ResultSigned) -> None:
    """The card has signed a result: it knows us; and it may say that it went back to the profile before."""
    if visit.card.reset_at is not None:
        await changes.spoke(visit.db, visit.bucket, visit.eid)
    if any(element.kind == "rollback" and element.code == 0 for element in result.data.results):
        await visit.record(Happening.EUICC_ROLLED_BACK, {"counter": result.data.counter, "seq": result.data.seq_number})
        await reports.audit(visit, (change.Audit.PROFILES,), "rolledBack")


async def _name_fallback(visit: Visit, before: Profile | None, now: Profile | None) -> None:
    """A card that is in fallback uses the profile with the attribute; who went and came back has left it."""
    about = {"profile": _iccid(now), "before": _iccid(before)}
    if now is not None and now.fallback:
        if about["profile"] != about["before"]:
            await visit.record(Happening.EUICC_FALLBACK_ENTERED, about)
    elif (before is not None and before.fallback) or visit.card.reported_cause == change.FALLBACK:
        await visit.record(Happening.EUICC_FALLBACK_LEFT, about)


def _iccid(profile: Profile | None) -> str | None:
    return format_iccid(profile.iccid) if profile else None
