"""What a verified result changes: the operation, our view of the card, the doubts it clears. In the caller's
transaction."""

import random
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import ResultSigned
from eim.domain import inventory, operation, retry
from eim.domain.euicc import Eim, Profile
from eim.domain.event import Happening
from eim.domain.ids import parse_iccid
from eim.domain.operation import Kind, State
from eim.domain.outcome import OK, ROLLED_BACK, Code, Outcome, outcome_of
from eim.domain.step import AddEim, DeleteEim, Enable, ListEim, ListProfileInfo, Step, changes_card, eim_of
from eim.services import barring, contradictions, ecalls, explaining, following, listing
from eim.services.visit import Visit
from eim.store import associations, card_views, mailbox, requests, results, work
from eim.store import inventory as profiles
from eim.store.packages import Package
from eim.store.requests import Ask
from eim.store.work import Asked, Doubtful, Ending

_OF_EIMS: Final = (AddEim, DeleteEim)  # what only the card's own list of eIMs can tell


async def apply(visit: Visit, result: ResultSigned, package: Package) -> None:
    """Apply one verified EuiccPackageResultSigned to the operation that its package carried."""
    await ecalls.over(visit)
    await explaining.by_result(visit, result)
    if visit.card.orphaned_at is not None and package.state == "head":
        await barring.found_again(visit)
    asked = package.carried
    if asked is None:
        return
    outcome = outcome_of(asked.steps, codes(asked, result))
    seq = result.data.seq_number
    if package.state == "head" and await _is_fresh(visit, result, package):
        await contradictions.look_at_sequence(visit, result)
    if await _list_plainly(visit, package, outcome) or await postpone(visit, asked, outcome):
        pass
    elif asked.state not in operation.ENDED:
        await _end_and_follow(visit, package, outcome, result, detail_of(outcome, result, package))
    elif _takes_back(asked, outcome, seq):
        await _take_back(visit, asked, outcome, seq)
    if visit.card.resyncs:
        await associations.in_step(visit.db, visit.bucket, visit.eid)
    await associations.raise_seq(visit.db, visit.bucket, visit.eid, seq)
    if package.state == "head":
        await mailbox.resolve_head(visit.db, visit.bucket, visit.eid)


def codes(asked: Asked, result: ResultSigned) -> list[Code]:
    """What the card says of each step; the answer to our own renewal is that of an updateEim."""
    own = {Kind.UPDATE_EIM.value: Kind.RENEW.value} if asked.kind is Kind.RENEW else {}
    return [Code(own.get(r.kind, r.kind), r.code) for r in result.data.results]


def detail_of(outcome: Outcome, result: ResultSigned, package: Package) -> dict[str, object]:
    """What the row of an operation keeps of the result that ended it."""
    detail: dict[str, object] = {
        "seq": result.data.seq_number,
        "late": package.state != "head",
        "deviating": outcome.deviating,
        "steps": [step.said for step in outcome.steps],
    }
    return detail if outcome.rollback is None else detail | {"rollback": outcome.rollback}


def ending_of(asked: Asked, outcome: Outcome, detail: Mapping[str, object]) -> Ending:
    """What is written of an operation that ends. Raises Conflict when it can't end so."""
    state = operation.move(asked.state, outcome.state)
    told: dict[str, object] = {"operation": str(asked.id), "kind": asked.kind.value, "reason": outcome.reason}
    if len(asked.steps) > 1 and outcome.steps:
        told["steps"] = [step.said for step in outcome.steps]
    if outcome.rollback not in (None, OK):
        told["rollback"] = outcome.rollback
    return Ending(state, {"reason": outcome.reason, **detail}, told)


def pause_before_next_try(asked: Asked, outcome: Outcome, spread: float) -> float | None:
    """Seconds until it is tried again; None: it is final. A package of which a step was done is never repeated.

    spread  -1 to 1: where in the spread of such pauses this one lies
    """
    if asked.state is not State.OUT or outcome.state is not State.FAILED:
        return None
    if outcome.rollback is not None or any(step.done for step in outcome.steps):
        return None
    return retry.pause(outcome.reason, asked.attempts, asked.retries, spread)


async def _end_and_follow(
    visit: Visit, package: Package, outcome: Outcome, result: ResultSigned, detail: Mapping[str, object]
) -> None:
    """Bring our view up to date and end the operation; a whole list clears the doubts before it.

    A result that others overtook overwrites nothing: the card is asked instead.
    """
    asked = package.carried
    if asked is None:
        return
    fresh, doubts, told = await _is_fresh(visit, result, package), list[Doubtful](), dict[str, object]()
    if outcome.reason == ROLLED_BACK or (not fresh and any(map(changes_card, asked.steps))):
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, outcome.reason)
    elif fresh:
        if lists(asked.steps, outcome):
            doubts = await _doubts_before(visit, package.number)
        explained = [step for doubtful in doubts for step in doubtful.asked.steps]
        told = await following.follow(visit, package, outcome, result, explained)
    if outcome.rollback not in (None, OK):
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, "the card could not take it back")
    await end(visit, asked, outcome, {**detail, **told})
    await _clear_doubts(visit, asked.steps, doubts)


async def _list_plainly(visit: Visit, package: Package, outcome: Outcome) -> bool:
    """Whether the card refused the tags that we named: it is asked in the plain form at once, and from now on.

    Nothing that changes the card is in such a package, so it is repeated as it is. One in doubt is not: the eIM lists
    the profiles by itself.
    """
    asked = package.carried
    if asked is None or not listing.refuses_tags(package, outcome):
        return False
    if await associations.list_plainly(visit.db, visit.bucket, visit.eid):
        await visit.audit("euicc.lists_plainly", {"operation": str(asked.id), "reason": outcome.reason})
    await visit.reseal()
    if asked.state is State.OUT:
        await _again(visit, asked, outcome.reason, 0.0)
    elif asked.state is State.IN_DOUBT:
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, outcome.reason)
        reason = "withdrawn" if asked.doubt == "withdrawn" else "superseded"
        await end(visit, asked, Outcome(State.FAILED, reason), {"refused": outcome.reason})
    return True


async def postpone(visit: Visit, asked: Asked, outcome: Outcome) -> bool:
    """Whether it is tried again later: the card signed that it did not do it, for a reason that passes.

    What was sealed behind it is taken back: nothing overtakes the one that waits. Its head is still to be resolved.
    """
    delay = pause_before_next_try(asked, outcome, random.uniform(-1, 1))  # noqa: S311 - spreads load, guards nothing
    if delay is None:
        return False
    if outcome.reason == ecalls.REASON:
        await ecalls.note(visit)
    await mailbox.unseal_behind(visit.db, visit.bucket, visit.eid)
    await _again(visit, asked, outcome.reason, delay)
    return True


async def _again(visit: Visit, asked: Asked, reason: str, delay: float) -> None:
    """Give it to the card once more, `delay` seconds from now at the earliest."""
    about = {"reason": reason, "attempt": asked.attempts + 1, "again_in_s": round(delay)}
    await work.retry(visit.db, visit.bucket, asked.id, delay, about)
    await visit.record(Happening.OPERATION_POSTPONED, {"operation": str(asked.id), "kind": asked.kind.value, **about})
    await visit.audit("operation.postponed", {"operation": str(asked.id), **about})


async def _is_fresh(visit: Visit, result: ResultSigned, package: Package) -> bool:
    """Whether no later result was applied before. The card's own count says so where it rose; where it did not (some
    begin anew), the order of packages does: the card accepts only rising counters."""
    highest = visit.card.highest_seq
    if highest is None or result.data.seq_number > highest or visit.card.unverifiable:
        return True
    return not await results.was_overtaken(visit.db, visit.bucket, visit.eid, package.number)


async def end(visit: Visit, asked: Asked, outcome: Outcome, detail: Mapping[str, object]) -> None:
    """End an operation, with its event and its audit record."""
    if asked.state is State.SEALED:  # a try before has ended it: what was sealed for the next one never goes out
        await mailbox.take_back_seals(visit.db, visit.bucket, visit.eid)
    ending = ending_of(asked, outcome, detail)
    if asked.kind is Kind.RENEW:
        await renewed(visit, outcome)
    await work.end(visit.db, visit.bucket, asked.id, ending)


async def renewed(visit: Visit, outcome: Outcome) -> None:
    """The card obeys the next key, or still the one it had. What was sealed for a trial of either never goes out."""
    before, next_key = visit.card.key_number, visit.card.next_key
    if outcome.done and next_key is not None:
        await associations.turn_key(visit.db, visit.bucket, visit.eid, next_key)
        visit.card = msgspec.structs.replace(visit.card, key_number=next_key, next_key=None, trial_key=None)
        about: dict[str, object] = {"from": before, "to": next_key}
        await visit.record(Happening.EUICC_KEY_TURNED, about)
        await visit.audit("euicc.key_turned", about)
    else:
        await associations.keep_key(visit.db, visit.bucket, visit.eid)
        visit.card = msgspec.structs.replace(visit.card, next_key=None, trial_key=None)
    await visit.reseal()


def _takes_back(asked: Asked, outcome: Outcome, seq: int) -> bool:
    """A rollback after a result that we had already: the card's acknowledgement was lost, and it reverted."""
    known = (asked.outcome or {}).get("seq")
    return asked.state is State.DONE and outcome.reason == ROLLED_BACK and isinstance(known, int) and seq > known


async def _take_back(visit: Visit, asked: Asked, outcome: Outcome, seq: int) -> None:
    used_before = (asked.outcome or {}).get("disabled")
    now = await profiles.read(visit.db, visit.bucket, visit.eid)
    if isinstance(used_before, str):
        now = list(inventory.after(now, Enable(parse_iccid(used_before))))
        await profiles.write(visit.db, visit.bucket, visit.eid, visit.tenant, now)
    await requests.add(visit.db, visit.bucket, visit.eid, Ask.AUDIT, outcome.reason)
    await mailbox.take_back_seals(visit.db, visit.bucket, visit.eid)  # what comes after it is skipped
    await end(visit, asked, outcome, {"seq": seq, "late": True})


def lists(steps: Sequence[Step], outcome: Outcome) -> bool:
    """Whether the answer is a whole list, of profiles or of eIMs."""
    return any(ended.done and _is_list(step) for step, ended in zip(steps, outcome.steps, strict=True))


def _is_list(step: Step) -> bool:
    return isinstance(step, ListEim) or (isinstance(step, ListProfileInfo) and step.is_complete)


async def _doubts_before(visit: Visit, number: int) -> list[Doubtful]:
    """A later package was accepted: these can't be executed any more, and a list shows whether they were
    (design 3.3)."""
    doubts = await work.doubtful(visit.db, visit.bucket, visit.eid)
    return [doubtful for doubtful in doubts if doubtful.number < number]


async def _clear_doubts(visit: Visit, listing: Sequence[Step], doubts: Sequence[Doubtful]) -> None:
    if not doubts:
        return
    now = await profiles.read(visit.db, visit.bucket, visit.eid)
    eims = (await card_views.read(visit.db, visit.bucket, visit.eid)).eims or ()
    listed_eims = any(isinstance(step, ListEim) for step in listing)
    for doubtful in doubts:
        if any(isinstance(step, _OF_EIMS) for step in doubtful.asked.steps) is listed_eims:
            known = _known_by_eims(doubtful.asked, eims) if listed_eims else _known_by_profiles(doubtful.asked, now)
            await end(visit, doubtful.asked, known, {"resolved_by": "inventory"})


def _known_by_profiles(asked: Asked, now: Sequence[Profile]) -> Outcome:
    changes = [step for step in asked.steps if inventory.changes_profiles(step)]
    if not any(map(changes_card, asked.steps)):
        return Outcome(State.FAILED, "superseded")
    if not changes:
        return Outcome(State.FAILED, "notConfirmed")
    if inventory.were_executed(now, changes):
        return Outcome(State.DONE, "ok")
    if len(changes) > 1 and any(inventory.were_executed(now, [step]) for step in changes):
        return Outcome(State.FAILED, "partlyExecuted")
    return _not_executed(asked)


def _known_by_eims(asked: Asked, eims: Sequence[Eim]) -> Outcome:
    there = {eim.eim_id for eim in eims}
    wanted = [step for step in asked.steps if isinstance(step, AddEim | DeleteEim)]
    shown = [(eim_of(step) in there) is isinstance(step, AddEim) for step in wanted]
    if all(shown):
        return Outcome(State.DONE, "ok")
    return Outcome(State.FAILED, "partlyExecuted") if any(shown) else _not_executed(asked)


def _not_executed(asked: Asked) -> Outcome:
    return Outcome(State.FAILED, "withdrawn" if asked.doubt == "withdrawn" else "notExecuted")
