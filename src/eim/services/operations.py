"""Operations as an operator handles them: ordered, looked at, withdrawn."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec

from eim.domain.event import Happening
from eim.domain.ids import (
    Bucket,
    Eid,
    TenantId,
    bucket_in,
    bucket_of,
    derive_operation_id,
    format_eid,
    format_iccid,
    read_eid,
)
from eim.domain.operation import ENDED, Kind, State
from eim.domain.step import Step, compact, name_of
from eim.domain.waiting import Held, held_at_first
from eim.errors import Conflict, InvalidRequest, NotFound
from eim.services import ordering, previewing
from eim.services.limits import make_room_for_order
from eim.services.lines import MOST_LINES, Problem, Problems, answered_before, remember
from eim.services.ordering import Decided, Estate, Ordering, Target
from eim.services.orders import SPREAD_ABOVE, Progress, is_bulk, meant, progress_of, spread
from eim.services.placing import PART, in_window, known_of, record_of, terms_of
from eim.services.previewing import LOOKED_AT, Preview
from eim.services.smdps import allow_ordered
from eim.services.tokens import Caller
from eim.services.withdrawing import read, withdraw
from eim.store import Db, audit, dependents, euiccs, events, operations, orders
from eim.store.audit import Record
from eim.store.connect import Pool, listing, transaction
from eim.store.euiccs import Locked
from eim.store.events import Event
from eim.store.operations import Filter, Line, Operation
from eim.store.orders import Placing, Repeat

MOST_NAMED: Final = 1000  # an order of more lines is answered with counts only
CONFIRM_ABOVE: Final = 100  # operations of one order
_OURS: Final = "eim"


class Placed(msgspec.Struct, frozen=True):
    """One line's operation."""

    position: int
    eid: Eid
    operation: UUID


class Accepted(msgspec.Struct, frozen=True):
    """What became of a request."""

    order: UUID
    accepted: int
    placed: tuple[Placed, ...]  # empty when there are more than MOST_NAMED
    problems: tuple[Problem, ...]
    cards: int | None = None  # that workers place it for, one by one; None: it is placed


class Chained(msgspec.Struct, frozen=True):
    """What became of a chain: an order a step."""

    steps: tuple[Accepted, ...]


class Behind(msgspec.Struct, frozen=True):
    """What the operations of an order come after, by card."""

    operations: Mapping[Eid, UUID] = {}
    steps: Mapping[Eid, Sequence[Step]] = {}  # that are done then, the first one first
    is_open: bool = True  # it has not ended yet


class Stands(msgspec.Struct, frozen=True):
    """An order as it was placed."""

    order: UUID
    decided: tuple[Decided, ...]
    lines: tuple[Line, ...]
    problems: tuple[Problem, ...]

    def answer(self) -> Accepted:
        """What whoever ordered is told."""
        positions = [asked.position for asked in self.decided for _ in asked.packages]
        both = zip(positions, self.lines, strict=True)
        placed = [Placed(position, line.eid, line.id) for position, line in both]
        named = tuple(placed) if len(placed) <= MOST_NAMED else ()
        return Accepted(self.order, len(self.lines), named, self.problems)


class Operations:
    """Places and withdraws operations. Holds the operator role's pool.

    confirm_above  an order for more operations has to repeat how many
    spread_above   an order for more cards, by tag or for all, is spread by workers where it may skip some
    """

    def __init__(self, pool: Pool, confirm_above: int = CONFIRM_ABOVE, *, spread_above: int = SPREAD_ABOVE) -> None:
        self._pool = pool
        self._confirm_above = confirm_above
        self._spread_above = spread_above

    async def place(self, caller: Caller, asked: Ordering, repeat: Repeat | None) -> Accepted:
        """Order `asked`, in one transaction: every line, or (OnError.SKIP) the good ones; for very many cards workers
        place it then, chunk by chunk.

        The same request under the same key is answered as before and orders nothing. Raises InvalidRequest,
        InvalidLines, Unconfirmed, LimitReached, KeyReused.
        """
        asked = _checked(asked)
        control = uuid4()
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, control, Accepted)
            if before is not None:
                return before
            done = await self._place(db, caller, asked, control)
            await remember(db, caller.tenant, repeat, done)
        return done

    async def _place(self, db: Db, caller: Caller, asked: Ordering, control: UUID) -> Accepted:
        cards = await meant(db, caller.tenant, asked)
        if is_bulk(asked, sum(cards.values()), self._spread_above):
            many = sum(cards.values()) * len(asked.packages)
            ordering.refuse_unconfirmed(asked.confirm, many, self._confirm_above)
            await make_room_for_order(db, caller.tenant)
            await spread(db, caller, asked, control, cards)
            steps = (template.step for package in asked.packages for template in package)
            await allow_ordered(db, caller, steps)
            return Accepted(control, 0, (), (), sum(cards.values()))
        placed = await _place(db, caller, asked, control, await _behind(db, caller.tenant, asked))
        ordering.refuse_unconfirmed(asked.confirm, len(placed.lines), self._confirm_above)
        return placed.answer()

    async def place_chain(self, caller: Caller, steps: Sequence[Ordering], repeat: Repeat | None) -> Chained:
        """Order `steps` for the same eUICCs, each step after the success of the one before it; all or nothing.

        A step is judged by what its card holds once those before it went well. `confirm` of the first step counts
        the operations of all. Raises what `place` raises.
        """
        steps = [_checked(step) for step in steps]
        control = uuid4()
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, control, Chained)
            if before is not None:
                return before
            placed = await _place_chain(db, caller, steps, control)
            many = sum(len(step.lines) for step in placed)
            ordering.refuse_unconfirmed(steps[0].confirm, many, self._confirm_above)
            done = Chained(tuple(step.answer() for step in placed))
            await remember(db, caller.tenant, repeat, done)
        return done

    async def preview(self, caller: Caller, asked: Ordering) -> Preview:
        """What `place` would do with this order, without doing it. Raises InvalidRequest."""
        asked = _checked(asked)
        problems = Problems()
        async with transaction(self._pool, tenant=caller.tenant) as db:
            many = sum((await meant(db, caller.tenant, asked)).values())
            bulk = is_bulk(asked, many, self._spread_above)
            targets = await _targets(db, caller.tenant, asked, LOOKED_AT if bulk else MOST_LINES)
            wanted = ordering.read(asked, targets, problems)
            at = sorted({(bucket_of(line.eid), line.eid) for line in wanted})
            cards = {card.eid: card for card in await euiccs.find(db, caller.tenant, at)}
            known = await known_of(db, caller.tenant, cards, (await _behind(db, caller.tenant, asked)).steps)
        decided = ordering.decide(asked, wanted, known, problems)
        looked = previewing.preview(asked, len(targets), known, decided, problems, self._confirm_above)
        return previewing.of_many(asked, looked, many) if bulk else looked

    async def withdraw(self, caller: Caller, operation: UUID) -> Operation:
        """Take an operation back; what may be with the card already becomes in_doubt, and is cleared up.

        Again changes nothing. Raises NotFound, and Conflict for what has ended otherwise.
        """
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await read(db, caller.tenant, operation)
            bucket = bucket_of(found.eid)
            await euiccs.lock(db, caller.tenant, bucket, [found.eid])
            return await withdraw(db, caller, bucket, operation)

    async def resume(self, caller: Caller, operation: UUID) -> Operation:
        """Let a parked operation go on. Raises NotFound, and Conflict for one that is not parked."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await read(db, caller.tenant, operation)
            bucket = bucket_of(found.eid)
            await euiccs.lock(db, caller.tenant, bucket, [found.eid])
            found = await read(db, caller.tenant, operation)
            if found.held is not Held.OPERATOR:
                raise Conflict(f"operation {operation} is not parked, so there is nothing to resume")
            await operations.resume(db, caller.tenant, bucket, operation)
            await _tell_resumed(db, caller, bucket, found)
            return await read(db, caller.tenant, operation)

    async def read(self, caller: Caller, operation: UUID) -> Operation:
        """One operation. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await read(db, caller.tenant, operation)

    async def page(
        self, caller: Caller, wanted: Filter, before: tuple[datetime, UUID], limit: int
    ) -> tuple[Operation, ...]:
        """Those just before `before`, newest first."""
        async with listing(self._pool, caller.tenant) as db:
            return await operations.page(db, caller.tenant, wanted, before, limit)

    async def progress(self, caller: Caller, order: UUID) -> Progress:
        """How an order stands. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await progress_of(db, caller.tenant, order)


async def _targets(db: Db, tenant: TenantId, asked: Ordering, limit: int = MOST_LINES) -> Sequence[Target]:
    targets = asked.targets
    if isinstance(targets, Estate):
        targets = tuple(Target(format_eid(eid)) for eid in await euiccs.tagged(db, tenant, targets.tag, limit))
    if not targets:
        raise InvalidRequest("no eUICC is meant by this order: name one, or a tag that some have")
    if len(targets) > MOST_LINES:
        raise InvalidRequest(f"an order has at most {MOST_LINES} lines, this has {len(targets)}: order by tag")
    return targets


async def _place(db: Db, caller: Caller, asked: Ordering, control: UUID, behind: Behind) -> Stands:
    problems = Problems()
    targets = await _targets(db, caller.tenant, asked)
    wanted = ordering.read(asked, targets, problems)
    locked = await _lock(db, caller.tenant, [line.eid for line in wanted])
    known = await known_of(db, caller.tenant, locked, behind.steps)
    decided = ordering.decide(asked, wanted, known, problems)
    settled = problems.settle(asked.on_error, len(targets))
    await make_room_for_order(db, caller.tenant)
    lines = await _lines(db, caller.tenant, control, decided)
    now = datetime.now(UTC)
    zones = {each.at.eid: each.at.time_zone for each in decided}
    lines = [in_window(_after(line, asked, behind), asked, zones[line.eid], now) for line in lines]
    await _insert(db, caller, control, asked, lines)
    await allow_ordered(db, caller, (step for line in decided for package in line.packages for step in package))
    return Stands(control, tuple(decided), tuple(lines), settled)


async def _place_chain(db: Db, caller: Caller, steps: Sequence[Ordering], control: UUID) -> list[Stands]:
    placed: list[Stands] = []
    last: dict[Eid, UUID] = {}
    done: dict[Eid, list[Step]] = {}
    for step in steps:
        placed.append(await _place(db, caller, step, uuid4() if placed else control, Behind(last, done)))
        for line in placed[-1].lines:
            last[line.eid] = line.id
            done.setdefault(line.eid, []).extend(line.what.steps)
    return placed


async def _behind(db: Db, tenant: TenantId, asked: Ordering) -> Behind:
    """What the order comes after, its card locked. Raises NotFound, and Conflict for what ended without success."""
    if asked.after is None or isinstance(asked.targets, Estate):
        return Behind()
    eid, bucket = read_eid(asked.targets[0].eid), bucket_in(asked.after)
    await _lock(db, tenant, [eid])
    found = await dependents.before(db, tenant, bucket, asked.after) if bucket is not None else []
    if not found or found[-1].eid != eid:
        raise NotFound(f"EID {format_eid(eid)} has no operation {asked.after}: 'after' names one of the same eUICC")
    last = found[-1].state
    if last in ENDED and last is not State.DONE:
        raise Conflict(f"operation {asked.after} is {last.value}, so what comes after its success never will")
    done = [step for each in found if each.state not in ENDED for step in each.steps]
    return Behind({eid: asked.after}, {eid: done}, last is not State.DONE)


def _after(line: Line, asked: Ordering, behind: Behind) -> Line:
    after = behind.operations.get(line.eid)
    held = held_at_first(asked.after_event, open_before=after is not None and behind.is_open)
    return msgspec.structs.replace(line, after=after, held=held)


def _checked(asked: Ordering) -> Ordering:
    now = datetime.now(UTC)
    ordering.check(asked, now)
    return ordering.timed(asked, now)


async def _lock(db: Db, tenant: TenantId, eids: Sequence[Eid]) -> Mapping[Eid, Locked]:
    """Lock their rows in bucket order; who is not the tenant's is missing."""
    found = await euiccs.lock_many(db, tenant, ((bucket_of(eid), eid) for eid in eids))
    return {at.eid: at for at in found}


async def _lines(db: Db, tenant: TenantId, control: UUID, decided: Sequence[Decided]) -> list[Line]:
    """Rows with their places behind what each eUICC was ordered before, in the order of the lines."""
    wanted: dict[tuple[Bucket, Eid], int] = {}
    for line in decided:
        at = (line.at.bucket, line.at.eid)
        wanted[at] = wanted.get(at, 0) + len(line.packages)
    last = await euiccs.allocate(db, tenant, wanted)
    following = {eid: last[eid] - many + 1 for (_, eid), many in wanted.items()}
    lines = []
    for line in decided:
        eid, identity = line.at.eid, line.at.identity
        for part, steps in enumerate(line.packages):
            ident = derive_operation_id(control, line.position | part << PART, eid)
            lines.append(Line(line.at.bucket, ident, eid, identity, following[eid], compact(steps)))
            following[eid] += 1
    return lines


async def _insert(db: Db, caller: Caller, control: UUID, asked: Ordering, lines: Sequence[Line]) -> None:
    """The order, its operations, what the timelines and the audit say of it, and the hint to the workers."""
    await orders.insert(db, caller.tenant, Placing(control, asked.kind, len(lines), caller.actor))
    await operations.insert(db, caller.tenant, terms_of(asked, control, caller.actor), lines)
    await events.append(db, caller.tenant, [_accepted_event(caller, asked, line) for line in lines])
    await audit.write(db, [record_of(caller, control, asked, {"operations": len(lines)})])
    await events.hint(db, [line.bucket for line in lines])


def _accepted_event(caller: Caller, asked: Ordering, line: Line) -> Event:
    what = line.what
    data: dict[str, object] = {"operation": str(line.id), "kind": what.kind.value, "by": caller.actor}
    if what.iccid is not None:
        data["iccid"] = format_iccid(what.iccid)
    if what.kind is Kind.PACKAGE:
        data["steps"] = [name_of(step) for step in what.steps]
    if line.after is not None:
        data["after"] = str(line.after)
    if asked.force_reason is not None:
        data["forced"] = asked.force_reason
    return Event(line.bucket, line.eid, Happening.OPERATION_ACCEPTED, data)


async def _tell_resumed(db: Db, caller: Caller, bucket: Bucket, found: Operation) -> None:
    data = {"operation": str(found.id), "by": caller.actor}
    await events.append(db, caller.tenant, [Event(bucket, found.eid, Happening.OPERATION_RESUMED, data)])
    about = {"parked": found.parked}
    await audit.write(db, [Record(caller.tenant, caller.actor, "operation.resume", str(found.id), about, bucket)])
    await events.hint(db, [bucket])
