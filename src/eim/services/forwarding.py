"""Notifications go to their SM-DP+: at least once, in each profile's order, and no server holds up another.

A look sorts what came since (where it goes, whether it may) and starts one task for each server that has something
due. A server's task delivers, writes down what its answers were, and ends when nothing more is due. What was delivered
is written down after the answer, so a crash repeats some of it: SM-DP+ know a notification that they have.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import asyncpg
import msgspec
import structlog

from eim.domain import notification
from eim.domain.event import Happening
from eim.domain.ids import Bucket, TenantId, format_iccid
from eim.domain.notification import Reason
from eim.domain.smdp import Smdp
from eim.errors import EimError, LeaseLost
from eim.instruments import NOTIFICATIONS
from eim.protocol.trust import Roots
from eim.services.leasing import Leasing
from eim.services.ports import Answered, Clock, Es9
from eim.services.sorting import Book, sort
from eim.store import Db, events, forwarding, notifications, smdps
from eim.store.connect import Pool, acquire, transaction
from eim.store.events import Event
from eim.store.forwarding import Due, Failed, Late, Sorted, Unsorted

_SORTED_A_LOOK: Final = 500
_HOSTS_A_LOOK: Final = 256
_CALLS_A_PLACE: Final = 4  # how many times as much as goes at once is read at once
_LATE_A_LOOK: Final = 200
_LATE_EVERY: Final = 10.0  # seconds between looks for what is here for too long

_log = structlog.get_logger()


class ForwardRules(msgspec.Struct, frozen=True):
    """What the configuration says about notifications."""

    allowed: tuple[Smdp, ...] = ()  # for all tenants
    verified_only: bool = False
    across_hosts: bool = True  # whether one for another server keeps its place in a profile's order too
    alarm_after: timedelta = timedelta(hours=24)
    longest_pause: timedelta = timedelta(hours=1)
    interval: float = 1.0  # seconds between looks


class Forwarder:
    """Guards the servers' tasks of one worker process. Everything it does can be repeated, and needs its leases."""

    def __init__(
        self, pool: Pool, leasing: Leasing, es9: Es9, trusted: tuple[Roots, Clock], rules: ForwardRules
    ) -> None:
        self._pool = pool
        self._leasing = leasing
        self._es9 = es9
        self._roots, self._now = trusted
        self._rules = rules
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._book = Book((), rules.allowed, verified_only=rules.verified_only)
        self._late_at = 0.0
        self._released: frozenset[Bucket] = frozenset()

    async def run(self) -> None:
        """Forward until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._tasks = {host: task for host, task in self._tasks.items() if not task.done()}
                for host in await self._look_or_wait():
                    if host not in self._tasks:
                        self._tasks[host] = group.create_task(self._serve(host))
                await asyncio.sleep(self._rules.interval)

    async def round(self) -> int:
        """One look and one round of every server; how much was sorted or called."""
        sorted_ = await self._look()
        served = await asyncio.gather(*(self._round(host) for host in await self._due_hosts()))
        return sorted_ + sum(served)

    async def _look_or_wait(self) -> Sequence[str]:
        try:
            while await self._look() == _SORTED_A_LOOK:
                pass
            return await self._due_hosts()
        except LeaseLost as error:
            _log.warning("notifications.lease_lost", why=str(error))
        except (EimError, asyncpg.PostgresError) as error:
            _log.warning("notifications.not_read", why=getattr(error, "code", type(error).__name__))
        return ()

    async def _serve(self, host: str) -> None:
        """Rounds of one server until nothing is due for it. What goes wrong here is no other server's business."""
        try:
            while await self._round(host):
                pass
        except (EimError, asyncpg.PostgresError) as error:
            why = getattr(error, "code", type(error).__name__)
            _log.warning("notifications.interrupted", smdp=host, why=why)

    async def _look(self) -> int:
        """Sort what is new and what is to be looked at again, and give alarms; how many were sorted."""
        buckets = self._leasing.buckets
        found = await self._to_sort(buckets)
        if found:
            decided = [sort(each, self._book, self._roots, self._now()) for each in found]
            await self._write_sorted(found, decided)
        await self._release(buckets)
        await self._alarm(buckets)
        return len(found)

    async def _to_sort(self, buckets: Sequence[Bucket]) -> Sequence[Unsorted]:
        """What is new or to be looked at again. With nothing to do it costs one short question."""
        async with acquire(self._pool) as db:
            if not await forwarding.anything_to_sort(db, buckets):
                return ()
            await self._read_book(db)
            new = await forwarding.unsorted(db, buckets, _SORTED_A_LOOK)
            again = await forwarding.held_and_due(db, buckets, _SORTED_A_LOOK - len(new))
        return (*new, *again)

    async def _read_book(self, db: Db) -> None:
        entries = await smdps.every(db)
        self._book = Book(entries, self._rules.allowed, verified_only=self._rules.verified_only)

    async def _due_hosts(self) -> Sequence[str]:
        async with acquire(self._pool) as db:
            found = await forwarding.hosts(db, self._leasing.buckets, _HOSTS_A_LOOK)
            if found:
                await self._read_book(db)
        return [host for host in found if self._es9.room(Smdp(host))]

    async def _write_sorted(self, found: Sequence[Unsorted], decided: Sequence[Sorted]) -> None:
        async with self._transaction(each.bucket for each in found) as db:
            written = await forwarding.sort(db, decided)
            told = [
                (was.tenant, _event(was, Happening.NOTIFICATION_HELD, {"reason": is_.reason.value, "host": is_.host}))
                for was, is_ in zip(found, decided, strict=True)
                if is_.reason is not None and is_.reason is not was.reason and (was.bucket, was.id) in written
            ]
            await _tell(db, told)
        NOTIFICATIONS.labels("sorted").inc(len(written))
        NOTIFICATIONS.labels("held").inc(len(told))

    async def _release(self, buckets: Sequence[Bucket]) -> None:
        """What the configuration allows by now is looked at again, once for each bucket that we get."""
        new = sorted(set(buckets) - self._released)
        if new and self._rules.allowed:
            async with self._transaction(new) as db:
                await forwarding.release(db, new, [smdp.address for smdp in self._rules.allowed])
        self._released = frozenset(buckets)

    async def _alarm(self, buckets: Sequence[Bucket]) -> None:
        if time.monotonic() < self._late_at:
            return
        self._late_at = time.monotonic() + min(_LATE_EVERY, self._rules.alarm_after.total_seconds())
        async with acquire(self._pool) as db:
            late = await forwarding.late(db, buckets, self._rules.alarm_after, _LATE_A_LOOK)
        if late:
            async with self._transaction(each.bucket for each in late) as db:
                await forwarding.alarm(db, late)
                await _tell(db, [(each.tenant, self._delayed(each)) for each in late])
            NOTIFICATIONS.labels("delayed").inc(len(late))

    def _delayed(self, late: Late) -> Event:
        about = {
            "hours": round((self._now() - late.received_at).total_seconds() / 3600, 1),
            "host": late.host or late.address,
            "state": late.state.value,
            "reason": late.reason.value if late.reason else None,
            "failure": late.failure,
            "attempts": late.attempts,
        }
        return _event(late, Happening.NOTIFICATION_DELAYED, _named(late) | about)

    async def _round(self, host: str) -> int:
        """Deliver what is due for one server; how much was tried or held."""
        room = self._es9.room(Smdp(host))
        if not room:
            return 0
        many = 1 if room == 1 else room * _CALLS_A_PLACE
        async with acquire(self._pool) as db:
            dues = await forwarding.due(db, self._leasing.buckets, host, self._rules.across_hosts, many)
        allowed = [(due, smdp) for due in dues if isinstance(smdp := self._book.find(due.tenant, host), Smdp)]
        refused = {(due.bucket, due.id): due for due in dues} if len(allowed) < len(dues) else {}
        for due, _ in allowed:
            refused.pop((due.bucket, due.id), None)
        answers = await asyncio.gather(*(self._call(smdp, due) for due, smdp in allowed))
        tried = [(due, answer) for (due, _), answer in zip(allowed, answers, strict=True) if answer.tried]
        if tried or refused:
            await self._write(host, tried, list(refused.values()))
        return len(tried) + len(refused)

    async def _call(self, smdp: Smdp, due: Due) -> Answered:
        """Deliver one. A call that goes wrong in a way that nobody foresaw is a failure of this one alone."""
        try:
            return await self._es9.handle_notification(smdp, due.octets)
        except Exception as error:  # noqa: BLE001 - the loop around each call: the others go on
            _log.error("notifications.call_failed", smdp=due.host, why=type(error).__name__)
            return Answered("the call could not be made: see the worker's log")

    async def _write(self, host: str, tried: Sequence[tuple[Due, Answered]], refused: Sequence[Due]) -> None:
        """Remember all of it, as the holder of its buckets, or nothing."""
        done = [due for due, answer in tried if answer.failure is None]
        failed = [self._failed(due, answer, answer.failure) for due, answer in tried if answer.failure is not None]
        reasons = {(due.bucket, due.id): self._why(due.tenant, host) for due in refused}
        async with self._transaction(due.bucket for due in (*(due for due, _ in tried), *refused)) as db:
            delivered = await forwarding.delivered(db, done)
            await forwarding.failed(db, failed)
            held = await forwarding.hold(db, reasons)
            for due in done:
                if due.attempts and due.iccid is not None:
                    await notifications.wake(db, due.bucket, due.eid, due.iccid)
            told = [
                (d.tenant, _event(d, Happening.NOTIFICATION_DELIVERED, _named(d) | {"attempts": d.attempts + 1}))
                for d in done
                if (d.bucket, d.id) in delivered
            ]
            for due in refused:
                if (place := (due.bucket, due.id)) in held:
                    about = _named(due) | {"reason": reasons[place].value}
                    told.append((due.tenant, _event(due, Happening.NOTIFICATION_HELD, about)))
            await _tell(db, told)
            for tenant, failure in _how_it_went(tried).items():
                await smdps.note(db, tenant, host, failure)
        NOTIFICATIONS.labels("delivered").inc(len(delivered))
        NOTIFICATIONS.labels("failed").inc(len(failed))
        NOTIFICATIONS.labels("held").inc(len(held))

    def _failed(self, due: Due, answer: Answered, failure: str) -> Failed:
        pause = notification.pause(due.attempts + 1, self._rules.longest_pause, random.random())  # noqa: S311 - spreads load
        asked = timedelta(seconds=answer.retry_after or 0)
        return Failed(due, failure, max(pause, min(asked, self._rules.longest_pause)))

    def _why(self, tenant: TenantId, host: str) -> Reason:
        found = self._book.find(tenant, host)
        return found if isinstance(found, Reason) else Reason.NOT_ALLOWED

    @asynccontextmanager
    async def _transaction(self, buckets: Iterable[Bucket]) -> AsyncIterator[Db]:
        """A transaction of the holder of `buckets`. Raises LeaseLost."""
        async with transaction(self._pool) as db:
            await self._leasing.hold(db, sorted(set(buckets)))
            yield db


def _event(of: Unsorted | Due | Late, kind: Happening, about: Mapping[str, object]) -> Event:
    return Event(of.bucket, of.eid, kind, {"notification": str(of.id), **about})


def _named(of: Due | Late) -> dict[str, object]:
    iccid = format_iccid(of.iccid) if of.iccid else None
    return {"event": of.event, "iccid": iccid, "seq": of.seq_number, "host": of.host}


async def _tell(db: Db, told: Sequence[tuple[TenantId, Event]]) -> None:
    for tenant in sorted({tenant for tenant, _ in told}):
        await events.append(db, tenant, [event for of, event in told if of == tenant])


def _how_it_went(tried: Sequence[tuple[Due, Answered]]) -> dict[TenantId, str | None]:
    """For each tenant, None when something was taken; otherwise why the last one was not."""
    went: dict[TenantId, str | None] = {}
    for due, answer in tried:
        if went.get(due.tenant, "") is not None:
            went[due.tenant] = answer.failure
    return went
