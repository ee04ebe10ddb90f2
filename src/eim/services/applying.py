"""What a verified result changes: the operation, the inventory, the doubts it clears. In the caller's transaction."""

from collections.abc import Mapping, Sequence

from eim.asn1.sgp32 import ProfileInfo, ResultSigned
from eim.domain import inventory, operation
from eim.domain.euicc import Profile, ProfileState
from eim.domain.ids import Iccid, format_iccid, parse_iccid
from eim.domain.operation import CHANGING, Kind, State
from eim.domain.outcome import Code, Outcome, outcome_of
from eim.services import ecalls, explaining
from eim.services.visit import Visit
from eim.store import associations, mailbox, requests, results, work
from eim.store import inventory as profiles
from eim.store.packages import Package
from eim.store.requests import Ask
from eim.store.work import Asked, Doubtful, Ending


async def apply(visit: Visit, result: ResultSigned, package: Package) -> None:
    """Apply one verified EuiccPackageResultSigned to the operation that its package carried."""
    await ecalls.over(visit)
    await explaining.by_result(visit, result)
    asked = package.carried
    if asked is None:
        return
    codes = [Code(r.kind, r.code) for r in result.data.results]
    outcome = outcome_of(asked.kind, codes)
    seq = result.data.seq_number
    fresh = await _is_fresh(visit, result)
    if asked.state not in operation.ENDED:
        detail = {"seq": seq, "late": package.state != "head", "deviating": outcome.deviating}
        await end(visit, asked, outcome, detail | await _change(visit, asked, outcome, result, fresh=fresh))
        if fresh and asked.kind is Kind.LIST_PROFILES and outcome.done:
            await _clear_doubts(visit, result.data.counter)
    elif _takes_back(asked, outcome, seq):
        await _take_back(visit, asked, outcome, seq)
    await associations.raise_seq(visit.db, visit.bucket, visit.eid, seq)
    if package.state == "head":
        await mailbox.resolve_head(visit.db, visit.bucket, visit.eid)


async def _is_fresh(visit: Visit, result: ResultSigned) -> bool:
    """Whether no later result was applied before. The card's own count says so where it rose; where it did not (some
    begin anew), the counter does: the card accepts only rising ones."""
    highest = visit.card.highest_seq
    if highest is None or result.data.seq_number > highest or visit.card.unverifiable:
        return True
    return not await results.was_overtaken(visit.db, visit.bucket, visit.eid, result.data.counter)


async def end(visit: Visit, asked: Asked, outcome: Outcome, detail: Mapping[str, object]) -> None:
    """End an operation, with its event and its audit record."""
    state = operation.move(asked.state, outcome.state)
    told = {"operation": str(asked.id), "kind": asked.kind.value, "reason": outcome.reason}
    await work.end(visit.db, visit.bucket, asked.id, Ending(state, {"reason": outcome.reason, **detail}, told))


async def _change(
    visit: Visit, asked: Asked, outcome: Outcome, result: ResultSigned, *, fresh: bool
) -> dict[str, object]:
    """Bring the inventory up to date. A result that others overtook overwrites nothing: the card is asked instead."""
    if outcome.reason == "rolledBack" or (not fresh and asked.kind in CHANGING):
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, outcome.reason)
        return {}
    if not outcome.done or not fresh:
        return {}
    if asked.kind is Kind.LIST_PROFILES:
        known, told = await profiles.read(visit.db, visit.bucket, visit.eid), listed(result)
        await profiles.replace(visit.db, visit.bucket, visit.eid, visit.tenant, told)
        await explaining.by_inventory(visit, known, told)
        return {}
    if asked.iccid is None:
        return {}
    before = await profiles.read(visit.db, visit.bucket, visit.eid)
    used = inventory.enabled(before)
    now = inventory.after(before, asked.kind, asked.iccid)
    await profiles.write(visit.db, visit.bucket, visit.eid, visit.tenant, now)
    return {"disabled": format_iccid(used.iccid)} if asked.kind is Kind.ENABLE and used else {}


def _takes_back(asked: Asked, outcome: Outcome, seq: int) -> bool:
    """A rollback after a result that we had already: the card's acknowledgement was lost, and it reverted."""
    known = (asked.outcome or {}).get("seq")
    return asked.state is State.DONE and outcome.reason == "rolledBack" and isinstance(known, int) and seq > known


async def _take_back(visit: Visit, asked: Asked, outcome: Outcome, seq: int) -> None:
    used_before = (asked.outcome or {}).get("disabled")
    now = await profiles.read(visit.db, visit.bucket, visit.eid)
    if isinstance(used_before, str):
        now = list(inventory.after(now, Kind.ENABLE, parse_iccid(used_before)))
        await profiles.write(visit.db, visit.bucket, visit.eid, visit.tenant, now)
    await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, outcome.reason)
    await end(visit, asked, outcome, {"seq": seq, "late": True})


async def _clear_doubts(visit: Visit, counter: int) -> None:
    """A higher counter was accepted and this is the inventory after it: what was in doubt is known now (design 3.3)."""
    now = await profiles.read(visit.db, visit.bucket, visit.eid)
    for doubtful in await work.doubtful(visit.db, visit.bucket, visit.eid):
        if doubtful.counter is None or doubtful.counter < counter:
            await end(visit, doubtful.asked, _known(doubtful, now), {"resolved_by": "inventory"})


def _known(doubtful: Doubtful, now: Sequence[Profile]) -> Outcome:
    asked = doubtful.asked
    if asked.kind not in CHANGING or asked.iccid is None:
        return Outcome(State.FAILED, "superseded")
    if inventory.was_executed(now, asked.kind, asked.iccid):
        return Outcome(State.DONE, "ok")
    return Outcome(State.FAILED, "withdrawn" if asked.doubt == "withdrawn" else "notExecuted")


def listed(result: ResultSigned) -> list[Profile]:
    """The profiles of a listProfileInfo result."""
    found: list[Profile] = []
    for element in result.data.results:
        found += [_profile(info, Iccid(info.iccid)) for info in element.profiles or () if info.iccid is not None]
    return found


def _profile(info: ProfileInfo, iccid: Iccid) -> Profile:
    return Profile(
        iccid=iccid,
        state=ProfileState.ENABLED if info.state == 1 else ProfileState.DISABLED,
        isdp_aid=info.isdp_aid,
        nickname=info.nickname,
        service_provider=info.service_provider,
        name=info.name,
        profile_class=info.profile_class,
        fallback=info.fallback,
        ppr=info.ppr,
    )
