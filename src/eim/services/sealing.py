"""Seal ahead: packages are assembled, signed and stored before the device calls (design 3.1, 3.4)."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

import msgspec

from eim.asn1.sgp32 import EcoList, EimConfigurationData, PsmoList, SpkiChoice, UpdateEim
from eim.domain.counter import CEILING, LAST
from eim.domain.euicc import Association, Speaks
from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, TransactionId, format_eid, transaction_of
from eim.domain.inventory import naming_tags
from eim.domain.operation import SIGNED, Kind, Priority, State
from eim.domain.step import DataRequest, check_package, refuse_unspoken
from eim.errors import Conflict, EimError, KeyUnusable, NotInVersion, Unworkable
from eim.protocol import esep, steps
from eim.services import associating
from eim.services.associating import RenewalRule
from eim.services.holding import Hold
from eim.services.ports import Keys, Signer
from eim.store import Db, associations, audit, events, mailbox, packages, work
from eim.store.associations import Allocated, Wanted
from eim.store.connect import Pool, transaction
from eim.store.packages import Sealed
from eim.store.work import Open

_NOT_IN_VERSION: Final = "notInVersion"  # the reason of what the version of a card doesn't have
_AUTOMATIC: Final = RenewalRule(automatic=True)
_BY_CONTENT: Final = (EimError, ValueError, TypeError, LookupError, ArithmeticError)  # what a bad row may cause
_FAULTS: Final = 5  # times in a row that an operation can't be sealed before it is parked
_LATER_S: Final = 10.0  # seconds until the second try, twice as many until the third
_RANDOM_OCTETS: Final = 14  # of an eimTransactionId; the first two of its 16 are the bucket


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
        check_package(operation.steps)
        refuse_unspoken(operation.steps, operation.speaks)
    except NotInVersion:
        return True
    except _BY_CONTENT as error:
        raise _unworkable(operation, error) from error
    return False


def _on_trial(operations: Sequence[Open]) -> tuple[Open, ...]:
    """While it is not known which key the card obeys: what clears that, one at a time."""
    if any(o.state is not State.ACCEPTED for o in operations):
        return ()
    return tuple(o for o in operations if o.priority == Priority.RECOVERY)[:1]


def _unworkable(operation: Open, error: Exception) -> Unworkable:
    why = str(error) if isinstance(error, EimError) else type(error).__name__
    return Unworkable(why, (operation.bucket, operation.id))


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

        0: nothing was sealed or taken back, so looking again at once would find the same. Raises Unworkable.
        ahead  how many packages at most for each now, of the one that are due; None: as many as there is room
        """
        async with transaction(self._pool) as db:
            await hold(db, [bucket for bucket, _ in eids])
            plans = await self._plans(db, eids)
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
            made = await self._make(db, plans, allocated)
            if made:
                await packages.insert(db, made)
                await mailbox.raise_heads(db, sorted({(s.bucket, s.eid) for s in made}))
            renewed = await self._look_after(db, short, allocated)
        return len(overtaken) + len(refused) + len(allocated) + renewed

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
            return next((o.id for p in await self._plans(db, [(bucket, eid)]) for o in p.seal), None)

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

    async def _plans(self, db: Db, eids: Sequence[tuple[Bucket, Eid]]) -> list[Plan]:
        opened = await work.open_operations(db, eids)
        return [
            plan(bucket, eid, list(operations), self._ahead)
            for (bucket, eid), operations in groupby(opened, key=lambda o: (o.bucket, o.eid))
        ]

    async def _allocate(self, db: Db, plans: Sequence[Plan]) -> dict[tuple[Bucket, Eid], Allocated]:
        wanted = [_wanted(p) for p in plans]
        made = await associations.allocate(db, wanted)
        if not self._list_tags:
            made = [msgspec.structs.replace(a, plain_lists=True) for a in made]
        return {(a.bucket, a.eid): a for a in made}

    async def _make(
        self, db: Db, plans: Sequence[Plan], allocated: Mapping[tuple[Bucket, Eid], Allocated]
    ) -> list[Sealed]:
        # The rows are locked only now: a plan that a result or an order overtook meanwhile waits for the next round.
        hold_good = {(p.bucket, p.eid): p.seal for p in await self._plans(db, list(allocated))}
        ours = [
            p
            for p in plans
            if (p.bucket, p.eid) in allocated and hold_good.get((p.bucket, p.eid), ())[: len(p.seal)] == p.seal
        ]
        really = await work.seal(db, sorted((o.bucket, o.id) for p in ours for o in p.seal))
        jobs = [(allocated[p.bucket, p.eid], [o for o in p.seal if o.id in really]) for p in ours]
        return await asyncio.to_thread(self._sign_all, jobs)

    def _sign_all(self, jobs: Iterable[tuple[Allocated, Sequence[Open]]]) -> list[Sealed]:
        signers: dict[str, Signer] = {}
        made: list[Sealed] = []
        for allocated, operations in jobs:
            if allocated.key_name not in signers:
                signers[allocated.key_name] = self._keys.load(allocated.key_name)
            made += _sealed(allocated, operations, signers[allocated.key_name])
        return made


def _wanted(plan: Plan) -> Wanted:
    renews = any(o.kind is Kind.RENEW for o in plan.seal)
    signed = sum(o.kind in SIGNED for o in plan.seal)
    return Wanted(plan.bucket, plan.eid, signed, len(plan.seal), CEILING if renews or not signed else LAST)


def _first(plan: Plan) -> Plan:
    return Plan(plan.bucket, plan.eid, plan.seal[:1])


class _Made(msgspec.Struct, frozen=True):
    """The octets of one package, and what names it to the card and to us."""

    octets: bytes
    counter: int | None
    transaction: TransactionId | None


def _sealed(allocated: Allocated, operations: Sequence[Open], signer: Signer) -> list[Sealed]:
    """The packages of one eUICC, numbers and counters rising from what was allocated. Raises Unworkable."""
    rows: list[Sealed] = []
    counter = allocated.counter
    for number, operation in enumerate(operations, allocated.number + 1):
        signed = operation.kind in SIGNED
        counter += signed
        try:
            made = _package(allocated, operation, counter, signer) if signed else _data_request(allocated, operation)
        except KeyUnusable:
            raise  # no operation is to blame
        except _BY_CONTENT as error:
            raise _unworkable(operation, error) from error
        rows.append(_row(allocated, operation, number, made))
    return rows


def _package(allocated: Allocated, operation: Open, counter: int, signer: Signer) -> _Made:
    association = Association(
        bucket=allocated.bucket,
        eid=allocated.eid,
        tenant=allocated.tenant,
        identity=allocated.identity,
        eim_id=allocated.eim_id,
        token=allocated.association_token,
        counter=counter,
        speaks=allocated.speaks or Speaks.V1_2,
    )
    named = _draw(allocated.bucket)
    unsigned = esep.assemble(association, _contents(allocated, operation, counter), counter, named)
    return _Made(esep.seal(unsigned, signer.sign(unsigned.tbs)), counter, named)


def _data_request(allocated: Allocated, operation: Open) -> _Made:
    """v1.0.1 has no place for a transaction id; a recovery asks such a peer for its stored results in place of
    notifications, where later versions list both."""
    named = None if allocated.speaks is Speaks.V1_0_1 else _draw(allocated.bucket)
    recovers = operation.priority == Priority.RECOVERY
    (asked,) = (step for step in operation.steps if isinstance(step, DataRequest))
    return _Made(steps.question(asked, allocated.speaks, named, results_only=recovers), None, named)


def _draw(bucket: Bucket) -> TransactionId:
    return transaction_of(bucket, secrets.token_bytes(_RANDOM_OCTETS))


def _contents(allocated: Allocated, operation: Open, counter: int) -> PsmoList | EcoList:
    if operation.kind is Kind.RENEW:
        return EcoList((UpdateEim(_next_association(allocated, counter)),))
    asked = operation.steps if allocated.plain_lists else naming_tags(operation.steps, allocated.speaks)
    return steps.package_of(asked, allocated.speaks or Speaks.V1_2)


def _next_association(allocated: Allocated, counter: int) -> EimConfigurationData:
    """What changes of our entry on the card: the key, and the counterValue that a new key can't be without."""
    if allocated.next_public_key is None:
        raise Conflict(f"{allocated.eim_id} has no key to move this eUICC to: order it again")
    start = counter if allocated.next_counter is None else allocated.next_counter
    return EimConfigurationData(
        eim_id=allocated.eim_id, counter=start, public_key=SpkiChoice(allocated.next_public_key)
    )


def _row(allocated: Allocated, operation: Open, number: int, made: _Made) -> Sealed:
    return Sealed(
        bucket=allocated.bucket,
        eid=allocated.eid,
        tenant=allocated.tenant,
        number=number,
        operation=operation.id,
        identity=allocated.identity,
        counter=made.counter,
        transaction=made.transaction,
        token=allocated.association_token,
        speaks=allocated.speaks or Speaks.V1_2,
        octets=made.octets,
        gate=operation.gate,
        not_before=operation.not_before,
        closes_at=operation.closes_at,
        key_number=allocated.key_number,
        association=allocated.association,
    )


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
