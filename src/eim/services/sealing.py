"""Seal ahead: packages are assembled, signed and stored before the device calls (design 3.1, 3.4)."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.counter import CEILING, LAST
from eim.domain.euicc import Speaks
from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, format_eid
from eim.domain.operation import SIGNED, Kind, Priority, State
from eim.domain.step import Step, check_package, refuse_unspoken
from eim.errors import KeyUnusable, NotInVersion, Unworkable
from eim.services import associating
from eim.services.associating import RenewalRule
from eim.services.holding import Hold
from eim.services.making import BY_CONTENT, Job, make, unworkable
from eim.services.ports import Keys
from eim.store import Db, associations, audit, events, mailbox, packages, work
from eim.store.associations import Allocated, Wanted
from eim.store.connect import Pool, transaction
from eim.store.work import Front, Open, Rows

_NOT_IN_VERSION: Final = "notInVersion"  # the reason of what the version of a card doesn't have
_AUTOMATIC: Final = RenewalRule(automatic=True)
_FAULTS: Final = 5  # times in a row that an operation can't be sealed before it is parked
_LATER_S: Final = 10.0  # seconds until the second try, twice as many until the third


class Plan(msgspec.Struct, frozen=True):
    """What to do for one eUICC: seal these, in this order; or first take back what a new one overtakes."""

    bucket: Bucket
    eid: Eid
    seal: tuple[Open, ...]
    overtaken: bool = False
    refused: tuple[Open, ...] = ()  # what the version that the card speaks doesn't have


def plan(bucket: Bucket, eid: Eid, operations: Sequence[Open], ahead: int) -> Plan:
    """Which of one eUICC's open operations, given in the order they go out, are sealed next.

    Nothing is sealed past the first one that can't be: an enable never overtakes what was ordered before it. A seal
    that may not go out now (its gate or window closed) makes way for what may.
    """
    if any(o.on_trial for o in operations):
        return Plan(bucket, eid, _on_trial(operations))
    waiting = [o for o in operations if o.state is not State.OUT]
    accepted_at = next((i for i, o in enumerate(waiting) if o.state is State.ACCEPTED), len(waiting))
    stuck = accepted_at < len(waiting) and any(not o.eligible for o in waiting)
    if stuck or any(o.state is State.SEALED for o in waiting[accepted_at:]):
        return Plan(bucket, eid, (), overtaken=True)
    chosen: list[Open] = []
    if any(o.kind is Kind.RENEW and o.state is not State.ACCEPTED for o in operations):
        return Plan(bucket, eid, ())  # what comes behind is signed with the key that holds then
    refused: list[Open] = []
    for candidate in waiting[accepted_at:]:
        if candidate.kind in SIGNED and not candidate.introduced:
            break
        (refused if _is_unspoken(candidate) else chosen).append(candidate)
        if candidate.kind is Kind.RENEW:
            break
    room = ahead - sum(o.state is not State.ACCEPTED and o.eligible for o in operations)
    return Plan(bucket, eid, tuple(chosen[: max(room, 0)]), refused=tuple(refused))


def _is_unspoken(operation: Open) -> bool:
    try:
        return _lacks(operation.speaks, operation.steps)
    except BY_CONTENT as error:
        raise unworkable(operation, error) from error


@lru_cache(maxsize=1024)  # of immutable values: most of a campaign asks the same
def _lacks(speaks: Speaks | None, steps: tuple[Step, ...]) -> bool:
    """Whether the version that a card speaks lacks one of the steps."""
    check_package(steps)
    try:
        refuse_unspoken(steps, speaks)
    except NotInVersion:
        return True
    return False


def _on_trial(operations: Sequence[Open]) -> tuple[Open, ...]:
    """While it is not known which key the card obeys: what clears that, one at a time."""
    if any(o.state is not State.ACCEPTED for o in operations):
        return ()
    return tuple(o for o in operations if o.priority == Priority.RECOVERY)[:1]


class Sealer:
    """Makes packages; the worker role only: no process that the internet reaches can sign one."""

    def __init__(
        self, pool: Pool, keys: Keys, ahead: int, renewal: RenewalRule = _AUTOMATIC, *, list_tags: bool = True
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._ahead = ahead  # packages in front of one eUICC, the one that is out included
        self._renewal = renewal
        self._list_tags = list_tags  # listings name the tags that we want to know

    async def seal(self, eids: Sequence[tuple[Bucket, Eid]], hold: Hold, ahead: int | None = None) -> int:
        """Seal what is due for `eids`, in one transaction; for how many of them there may be more to do at once.

        Their rows are locked before anything is looked at, so what is planned stands until it is written: who orders
        something or brings a result waits, or is seen. Give them in the order of their keys.

        0: nothing was sealed or taken back, so looking again at once would find the same. Raises Unworkable.
        ahead  how many packages at most for each now, of the one that are due; None: as many as there is room
        """
        async with transaction(self._pool) as db:
            await hold(db, [bucket for bucket, _ in eids])
            await associations.hold(db, eids)
            plans = self._plans(await work.look(db, eids))
            overtaken = [p for p in plans if p.overtaken]
            for each in overtaken:
                await _take_back(db, each)
            refused = [p for p in plans if p.refused]
            for each in refused:
                await _refuse(db, each)
            plans = [Plan(p.bucket, p.eid, p.seal[:ahead]) for p in plans if p.seal]
            allocated = await self._allocate(db, plans)
            # Near the ceiling the counters do not suffice for all: then for the first.
            plans = [p if (p.bucket, p.eid) in allocated else _first(p) for p in plans]
            short = [p for p in plans if (p.bucket, p.eid) not in allocated]
            allocated |= await self._allocate(db, short) if short else {}
            ours = [p for p in plans if (p.bucket, p.eid) in allocated]
            if ours:
                await self._write(db, [Job(allocated[p.bucket, p.eid], p.seal) for p in ours])
            renewed = await self._look_after(db, short, allocated)
        return len(overtaken) + len(refused) + len(allocated) + renewed

    async def _write(self, db: Db, jobs: Sequence[Job]) -> None:
        """Make the packages and store them: each operation that was accepted is sealed."""
        made = await asyncio.to_thread(make, jobs, self._keys)
        await packages.insert(db, made)
        if heads := [p for p in made if p.is_head]:
            await mailbox.put_heads(db, heads)
        behind = {(o.bucket, o.eid) for job in jobs for o in job.operations if o.front is Front.BEHIND}
        if behind:
            await mailbox.raise_heads(db, sorted(behind))
        await work.seal(db, sorted((p.bucket, p.operation) for p in made))

    async def _look_after(
        self, db: Db, short: Sequence[Plan], allocated: Mapping[tuple[Bucket, Eid], Allocated]
    ) -> int:
        """Counters that are high, or at their end; how many associations are renewed because of that."""
        renewed = 0
        for at in sorted(at for at, made in allocated.items() if made.alarming):
            renewed += await associating.alarm(db, allocated[at], self._renewal)
        for each in short:
            if (each.bucket, each.eid) not in allocated:
                renewed += await associating.exhausted(db, each.bucket, each.eid, self._renewal)
        return renewed

    def can_sign(self, key_name: str) -> bool:
        """Whether this key can be used."""
        try:
            self._keys.load(key_name)
        except KeyUnusable:
            return False
        return True

    async def first(self, bucket: Bucket, eid: Eid) -> UUID | None:
        """What is sealed next for this eUICC. Raises Unworkable."""
        async with transaction(self._pool) as db:
            plans = self._plans(await work.look(db, [(bucket, eid)]))
        return next((o.id for p in plans for o in p.seal), None)

    async def set_aside(self, error: Unworkable, hold: Hold) -> bool:
        """It can't be sealed: it is tried again later, and after some times in a row it is parked. False: it is not
        there any more."""
        bucket, operation = Bucket(error.at[0]), error.at[1]
        async with transaction(self._pool) as db:
            await hold(db, [bucket])
            eid = await work.whose(db, bucket, operation)
            card = await associations.lock(db, bucket, eid) if eid is not None else None
            if eid is None or card is None:
                return False
            fault = await work.fault(db, bucket, operation, str(error), _LATER_S, _FAULTS)
            if fault is None or not fault.parked:
                return fault is not None
            about = {"operation": str(operation), "kind": fault.kind, "why": str(error)}
            await events.record(db, bucket, eid, card.tenant, Happening.OPERATION_PARKED, about)
            subject = format_eid(eid)
            await audit.record(
                db, bucket, card.tenant, actor="worker", action="operation.parked", subject=subject, data=about
            )
        return True

    def _plans(self, seen: Mapping[tuple[Bucket, Eid], Rows]) -> list[Plan]:
        return [plan(bucket, eid, work.opened(rows), self._ahead) for (bucket, eid), rows in seen.items()]

    async def _allocate(self, db: Db, plans: Sequence[Plan]) -> dict[tuple[Bucket, Eid], Allocated]:
        wanted = [_wanted(p) for p in plans]
        made = await associations.allocate(db, wanted)
        if not self._list_tags:
            made = [msgspec.structs.replace(a, plain_lists=True) for a in made]
        return {(a.bucket, a.eid): a for a in made}


def _wanted(plan: Plan) -> Wanted:
    renews = any(o.kind is Kind.RENEW for o in plan.seal)
    signed = sum(o.kind in SIGNED for o in plan.seal)
    return Wanted(plan.bucket, plan.eid, signed, len(plan.seal), CEILING if renews or not signed else LAST)


def _first(plan: Plan) -> Plan:
    return Plan(plan.bucket, plan.eid, plan.seal[:1])


async def _take_back(db: Db, overtaken: Plan) -> None:
    """Something of higher priority came: unseal the rest in the same transaction; the next round seals anew."""
    await associations.lock(db, overtaken.bucket, overtaken.eid)
    await mailbox.unseal(db, overtaken.bucket, overtaken.eid)


async def _refuse(db: Db, found: Plan) -> None:
    """End what this card can't be asked, with the reason; its version was not known when it was ordered."""
    card = await associations.lock(db, found.bucket, found.eid)
    for operation in found.refused if card is not None else ():
        about = {"operation": str(operation.id), "kind": operation.kind.value, "reason": _NOT_IN_VERSION}
        if card is not None and await work.refuse(db, found.bucket, operation.id, {"reason": _NOT_IN_VERSION}):
            await events.record(db, found.bucket, found.eid, card.tenant, Happening.OPERATION_FAILED, about)
            await audit.record(
                db,
                found.bucket,
                card.tenant,
                actor="worker",
                action=Happening.OPERATION_FAILED.text,
                subject=format_eid(found.eid),
                data=about,
            )
