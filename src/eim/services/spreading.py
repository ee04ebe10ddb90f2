"""Orders for very many cards, placed by the worker: chunk by chunk, a transaction each (design 4).

A chunk commits its operations together with how far it came, under the leases of its buckets: whoever goes on after a
crash, or after another worker, repeats nothing. Memory holds one chunk.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec
import structlog

from eim.domain.event import Happening
from eim.domain.ids import BUCKETS, Bucket, Eid, derive_operation_id, format_eid, operation_seed, parse_iccid
from eim.domain.opening import zone_named
from eim.domain.step import compact
from eim.domain.waiting import held_at_first
from eim.errors import EimError, LeaseLost, Unavailable
from eim.services import ordering
from eim.services.bulk import Look, sieve
from eim.services.leasing import Leasing
from eim.services.lines import Problem, Problems
from eim.services.ordering import Decided, Estate, Ordering, Wanted
from eim.services.placing import PART, in_window, known_of, terms_of, window_of
from eim.store import Db, audit, euiccs, events, operations, spreads
from eim.store.audit import Record
from eim.store.connect import Pool, acquire, transaction
from eim.store.operations import Line
from eim.store.spreads import Common, Job, Order, Placed, Refusal, Zone

CHUNK: Final = 10_000  # cards a transaction, about: results of a locked card wait for its end, 0.1 s at most as a rule
_MOST_BUCKETS: Final = 256  # a transaction
_CAREFUL: Final = (100, 10, 1)  # cards a transaction, after one that failed
_NAMED: Final = 3  # refused cards of a bucket that are named
_UNWORKABLE: Final = "internal"
_BAD: Final = (EimError, ValueError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_log = structlog.get_logger()


class _Stopped(Exception):
    """An operator stopped the order while a chunk was under way: the chunk is undone."""


class _Going(msgspec.Struct, frozen=True):
    """An order as it is spread."""

    order: Order
    asked: Ordering
    common: Common
    now: datetime


class Spreader:
    """Holds the worker role's pool and leases, nothing else: how far an order is, its rows say."""

    def __init__(self, pool: Pool, leasing: Leasing, chunk: int = CHUNK) -> None:
        self._pool = pool
        self._leasing = leasing
        self._chunk = chunk

    async def round(self) -> int:
        """Place one chunk; how many cards it had. 0: there is nothing to do here."""
        with self._leasing.round() as buckets:
            async with acquire(self._pool) as db:
                waiting = await spreads.unfinished(db)
            for order in waiting:
                if done := await self._go_on(order, buckets):
                    return done
        return 0

    async def _go_on(self, order: Order, buckets: Sequence[Bucket]) -> int:
        async with acquire(self._pool) as db:
            ours = buckets if len(buckets) < BUCKETS else None  # to name a thousand costs more than the look
            some = [] if order.stopped else await spreads.next_buckets(db, order.id, ours, _MOST_BUCKETS, self._chunk)
            over = order.stopped or (not some and not await spreads.is_open(db, order))
        if over:
            await self._finish(order)
        if not some:
            return 0
        going = _going(order)
        try:
            return await self._place(going, some, self._chunk)
        except _Stopped:
            return 1
        except (LeaseLost, Unavailable):
            raise
        except _BAD as error:
            _log.error("worker.cannot_spread", order=str(order.id), why=type(error).__name__)
            return await self._carefully(going, some[0])

    async def _place(self, going: _Going, buckets: Sequence[Bucket], limit: int) -> int:
        """The next cards of these buckets, in one transaction; how many, counting each bucket that was at its end."""
        async with transaction(self._pool) as db:
            await self._leasing.hold(db, buckets)
            await spreads.plan_once(db)
            jobs = await spreads.open_jobs(db, going.order.id, buckets)
            common = await _with_zones(db, going, buckets)
            placed = await spreads.place(db, common, jobs, limit)
            went = [await _look_closer(db, going, *each) for each in zip(jobs, placed, strict=True)]
            await self._close(db, going, jobs, went)
        return sum(each.looked_at + 1 for each in placed)

    async def _close(self, db: Db, going: _Going, before: Sequence[Job], after: Sequence[Job]) -> None:
        """Say how far it is, and leave the chunk's records."""
        order = going.order
        await spreads.save(db, order.id, after)
        records = [
            _record(order, was, now) for was, now in zip(before, after, strict=True) if was.reached != now.reached
        ]
        if records:
            await audit.write(db, records)
        await events.hint(db, [now.bucket for was, now in zip(before, after, strict=True) if was.placed != now.placed])
        if not await spreads.goes_on(db, order.id):
            raise _Stopped

    async def _carefully(self, going: _Going, bucket: Bucket) -> int:
        """Something in the next cards can't be worked on: go on in small steps up to it, and pass it over."""
        for limit in _CAREFUL:
            try:
                return await self._place(going, [bucket], limit)
            except _Stopped:
                return 1
            except (LeaseLost, Unavailable):
                raise
            except _BAD as error:
                if limit == 1:
                    await self._pass_over(going, bucket, type(error).__name__)
        return 1

    async def _pass_over(self, going: _Going, bucket: Bucket, why: str) -> None:
        async with transaction(self._pool) as db:
            await self._leasing.hold(db, [bucket])
            jobs = await spreads.open_jobs(db, going.order.id, [bucket])
            only_locked = msgspec.structs.replace(going.common, packages=())
            for job, bad in zip(jobs, await spreads.place(db, only_locked, jobs, 1), strict=True):
                problems = [(eid, Problem(0, _UNWORKABLE, why)) for eid in bad.rest]
                await spreads.save(db, going.order.id, [_went(job, bad, 0, problems)])

    async def _finish(self, order: Order) -> None:
        async with transaction(self._pool) as db:
            if not await spreads.finish(db, order.id):
                return
            jobs = await spreads.of_order(db, order.tenant, order.id)
            about: dict[str, object] = {
                "order": str(order.id),
                "operations": sum(job.placed for job in jobs),
                "refused": sum(sum(job.refused.values()) for job in jobs),
                "stopped": order.stopped,
            }
            bucket = audit.bucket_of_subject(str(order.id))
            await events.record(db, bucket, None, order.tenant, Happening.ORDER_SPREAD, about)
            await audit.write(db, [Record(order.tenant, "worker", "order.spread", str(order.id), about)])


def _going(order: Order) -> _Going:
    asked = msgspec.convert(order.asked, Ordering)
    assert isinstance(asked.targets, Estate)  # noqa: S101 - for mypy: only such orders are spread
    now = datetime.now(UTC)
    made = sieve(asked)
    window = None if _is_zoned(asked) else window_of(asked, None, now)
    common = Common(
        terms=terms_of(asked, order.id, order.ordered_by),
        tenant=order.tenant,
        order=order.id,
        tag=asked.targets.tag,
        speaks=made.speaks,
        packages=made.packages if made.look is not Look.EACH else (),
        seeds=tuple(operation_seed(order.id, part << PART) for part in range(len(made.packages))),
        judged=made.packages[0].kind if made.look is Look.PROFILES and made.guarded else None,
        provider=made.provider,
        held=held_at_first(asked.after_event, open_before=False),
        opens_at=window.opens_at if window else None,
        closes_at=window.closes_at if window else None,
    )
    return _Going(order, asked, common, now)


def _is_zoned(asked: Ordering) -> bool:
    """Whether a card's own clock says when it may go out."""
    return asked.opening is not None and not asked.opening.utc


async def _with_zones(db: Db, going: _Going, buckets: Sequence[Bucket]) -> Common:
    """What is common, with the windows of all zones that some card of these buckets is in."""
    common = going.common
    if not _is_zoned(going.asked):
        return common
    found = await spreads.zones(db, common.tenant, common.tag, buckets)
    windows = [(name, window_of(going.asked, name, going.now)) for name in found if zone_named(name) is not None]
    zones = tuple(Zone(name, window.opens_at, window.closes_at) for name, window in windows if window is not None)
    return msgspec.structs.replace(common, zones=zones)


async def _look_closer(db: Db, going: _Going, job: Job, placed: Placed) -> Job:
    """Judge the cards that need it, each by itself; the job after all that were looked at."""
    if not placed.rest:
        return _went(job, placed, 0, ())
    decided, refused = await _judge(db, going, job.bucket, placed.rest)
    ordinal = await spreads.draw(db)
    lines = [line for each in decided for line in _lines(going, each, ordinal)]
    await operations.insert(db, going.order.tenant, going.common.terms, lines)
    return _went(job, placed, len(lines), refused)


async def _judge(
    db: Db, going: _Going, bucket: Bucket, eids: Sequence[Eid]
) -> tuple[list[Decided], list[tuple[Eid, Problem]]]:
    """Judge each of these locked cards by itself, as an order for it alone would be."""
    tenant, asked, problems = going.order.tenant, going.asked, Problems()
    cards = {card.eid: card for card in await euiccs.find(db, tenant, [(bucket, eid) for eid in eids])}
    common = parse_iccid(asked.iccid) if asked.iccid is not None else None
    wanted = [Wanted(place, eid, common) for place, eid in enumerate(eids)]
    decided = ordering.decide(asked, wanted, await known_of(db, tenant, cards, {}), problems)
    return decided, [(eids[problem.position], problem) for problem in problems.all()]


def _lines(going: _Going, decided: Decided, ordinal: int) -> list[Line]:
    at = decided.at
    lines = []
    for part, steps in enumerate(decided.packages):
        ident = derive_operation_id(going.order.id, part << PART, at.eid)
        held = held_at_first(going.asked.after_event, open_before=False)
        line = Line(at.bucket, ident, at.eid, at.identity, ordinal + part + 1, compact(steps), held=held)
        lines.append(in_window(line, going.asked, at.time_zone, going.now))
    return lines


def _went(job: Job, placed: Placed, more: int, refused: Sequence[tuple[Eid, Problem]]) -> Job:
    """The job after these cards, `more` operations of those that needed a closer look."""
    counts = dict(job.refused)
    for _, problem in refused:
        counts[problem.code] = counts.get(problem.code, 0) + 1
    named = [Refusal(format_eid(eid), problem.code, problem.text) for eid, problem in refused]
    return msgspec.structs.replace(
        job,
        reached=placed.reached,
        looked_at=job.looked_at + placed.looked_at,
        placed=job.placed + placed.placed + more,
        refused=counts,
        problems=(*job.problems, *named)[:_NAMED],
        done=placed.is_last,
    )


def _record(order: Order, was: Job, now: Job) -> Record:
    about = {"cards": now.looked_at - was.looked_at, "operations": now.placed - was.placed}
    return Record(order.tenant, "worker", "order.chunk", str(order.id), about, now.bucket)
