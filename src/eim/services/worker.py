"""The worker role: in rounds, it serves requests, ends what is past its time, and seals what is due (design 3.6)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import asyncpg
import msgspec
import structlog

from eim import instruments
from eim.domain.ids import Bucket, Eid, IdentityId, format_eid
from eim.errors import Contended, EimError, KeyUnusable, LeaseLost, Unavailable, Unworkable
from eim.services.asking import Asking
from eim.services.clock import Watch
from eim.services.handing import Handing
from eim.services.lanes import Lane, LaneRules
from eim.services.leasing import Leasing
from eim.services.recalling import Recaller
from eim.services.sealing import Sealer
from eim.services.spreading import Spreader
from eim.store import Db, due, handovers, requests, work
from eim.store.connect import Pool, acquire, transaction
from eim.store.due import Due

_CHANNEL: Final = "eim_work"
_LEASES: Final = "eim_leases"
_REQUESTS_A_ROUND: Final = 200
_LISTEN_AGAIN: Final = 2.0  # seconds
_AFTER_FAULT: Final = 60.0  # seconds that an eUICC which can't be sealed is left alone
_COALESCE: Final = 0.02  # seconds between two rounds that hints wake: many hints are one round
_SLOWER: Final = 16  # times that a signature on brainpoolP256r1 costs more, about: its batches are that much smaller
_CHORES: Final = "chores"
_CLOCK: Final = "clock"
_ORDERS: Final = "orders"
_SLOW_AGAIN: Final = 5.0  # seconds between looks for a first identity on brainpoolP256r1

# What one operation or request may cause, and what must not hold up the others.
_BAD: Final = (EimError, ValueError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

_log = structlog.get_logger()


class WorkerRules(msgspec.Struct, frozen=True):
    """What the configuration says about the worker."""

    batch: int  # eUICCs a round
    ahead: int  # packages in front of one eUICC
    interval: float  # seconds between looks when nobody hints


class Worker:
    """Guards the loops and their alarm clocks. Everything it does can be repeated, and is refused without its lease."""

    def __init__(self, pool: Pool, leasing: Leasing, sealer: Sealer, asking: Asking, rules: WorkerRules) -> None:
        self._pool = pool
        self._leasing = leasing
        self._sealer = sealer
        self._asking = asking
        self._handing = Handing(pool)
        self._watch = Watch(pool, leasing)
        self._spreader = Spreader(pool, leasing)
        self._recaller = Recaller(pool, leasing)
        self._rules = rules
        few = max(rules.batch // _SLOWER, 1)
        self._fast = Lane(LaneRules("P-256", slow=False, batch=rules.batch, ahead=rules.ahead))
        self._slow = Lane(LaneRules("brainpoolP256r1", slow=True, batch=few, ahead=rules.ahead))
        self._any_slow, self._slow_asked = False, -_SLOW_AGAIN
        self._alarms = {
            name: asyncio.Event() for name in (_CHORES, _CLOCK, _ORDERS, self._fast.rules.name, self._slow.rules.name)
        }

    async def run(self) -> None:
        """Work until cancelled: the chores and each lane for themselves, so that none waits for another."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leasing.run())
            group.create_task(self._listen())
            group.create_task(self._repeat(_CHORES, self._do_chores))
            group.create_task(self._repeat(_CLOCK, self._watch.look))
            group.create_task(self._repeat(_ORDERS, self._see_to_orders))
            group.create_task(self._repeat(self._fast.rules.name, self._seal_fast))
            group.create_task(self._repeat(self._slow.rules.name, self._seal_slow))

    async def round(self) -> int:
        """One round of all; how much it did. 0: there was nothing to do."""
        orders = await self._see_to_orders()
        return orders + await self._do_chores() + await self._seal_fast() + await self._seal_slow()

    async def _repeat(self, name: str, deed: Callable[[], Awaitable[int]]) -> None:
        alarm = self._alarms[name]
        while True:
            alarm.clear()
            if not await _survive(name, deed, self._leasing.refresh):
                await self._rest(alarm)

    async def _do_chores(self) -> int:
        """Serve requests, end what is past its time, and move hand-overs on."""
        served = 0
        with self._leasing.round() as buckets:
            async with acquire(self._pool) as db:
                asked = await requests.due(db, buckets, _REQUESTS_A_ROUND)
                expiring = await work.expiring(db, buckets, _REQUESTS_A_ROUND)
                going = await handovers.due(db, buckets, _REQUESTS_A_ROUND)
            for request in asked:
                served += await self._alone(request.eid, self._asking.serve(request, self._leasing.hold))
                self._hint(request.bucket, request.eid)
            for each in expiring:
                served += await self._alone(each.eid, self._asking.pass_time(each, self._leasing.hold))
                self._hint(each.bucket, each.eid)
            for card in sorted(going):
                served += await self._alone(card.eid, self._handing.go_on(card, self._leasing.hold))
                self._hint(card.bucket, card.eid)
        return served

    async def _see_to_orders(self) -> int:
        """Place and take back what was ordered for many."""
        return await self._spreader.round() + await self._recaller.round()

    async def _seal_fast(self) -> int:
        return await self._seal_next(self._fast)

    async def _seal_slow(self) -> int:
        """Nothing is asked for a lane that nobody is in."""
        if not self._any_slow:
            if time.monotonic() - self._slow_asked < _SLOW_AGAIN:
                return 0
            async with acquire(self._pool) as db:
                self._any_slow = await due.any_slow(db)
            self._slow_asked = time.monotonic()
        return await self._seal_next(self._slow) if self._any_slow else 0

    async def _seal_next(self, lane: Lane) -> int:
        """Seal one batch."""
        with self._leasing.round() as buckets:
            async with acquire(self._pool) as db:
                batch = await lane.next(db, buckets)
            if not batch:
                return 0
            faults = lane.faults
            with instruments.SEALING.labels(lane.rules.name).time():
                sealed = await self._seal(batch, lane)
            lane.note(batch)
        instruments.SEALED.labels(lane.rules.name).inc(sealed)
        return sealed or lane.faults - faults

    async def _alone(self, eid: Eid, deed: Awaitable[None]) -> int:
        """Do one thing for one eUICC; 0 when it can't be done, which must not hold up the others."""
        try:
            await deed
        except (LeaseLost, Unavailable):
            raise
        except _BAD as error:
            _log.error("worker.cannot_serve", eid=format_eid(eid), why=str(error))
            return 0
        return 1

    async def _seal(self, batch: Sequence[Due], lane: Lane) -> int:
        """Seal a batch; when it can't be, its halves, so that a bad one is found and does not hold up the others."""
        try:
            return await self._sealer.seal(sorted({(each.bucket, each.eid) for each in batch}), self._leasing.hold)
        except (LeaseLost, Unavailable):
            raise
        except Unworkable as error:
            return await self._seal(batch, lane) if await self._set_aside(error, lane) else 0
        except _BAD as error:
            if isinstance(error, KeyUnusable) and (keyless := await self._keyless(batch)):
                _log.error("worker.no_key", identities=sorted(keyless), why=str(error))
                lane.mute(keyless)
                others = [each for each in batch if each.identity not in keyless]
                return await self._seal(others, lane) if others else 0
            if len(batch) == 1:
                return await self._seal_alone(batch[0], error, lane)
            middle = len(batch) // 2
            return await self._seal(batch[:middle], lane) + await self._seal(batch[middle:], lane)

    async def _keyless(self, batch: Sequence[Due]) -> set[IdentityId]:
        """The identities of `batch` whose key can't be used: then no eUICC is to blame."""
        found = set()
        for identity in {each.identity for each in batch}:
            async with acquire(self._pool) as db:
                name = await due.key_name(db, identity)
            if not self._sealer.can_sign(name):
                found.add(identity)
        return found

    async def _seal_alone(self, bad: Due, error: Exception, lane: Lane) -> int:
        """One of its operations can't be sealed: seal those before it, one by one, and set it aside."""
        at, first = (bad.bucket, bad.eid), None
        try:
            first = await self._sealer.first(*at)
            return await self._sealer.seal([at], self._leasing.hold, ahead=1)
        except (LeaseLost, Unavailable):
            raise
        except Unworkable as found:
            await self._set_aside(found, lane)
        except _BAD as blamed:
            if isinstance(error, KeyUnusable) or first is None:  # no operation is to blame
                await self._leave_alone(bad, blamed, lane)
            else:
                await self._set_aside(Unworkable(type(blamed).__name__, (bad.bucket, first)), lane)
        return 0

    async def _set_aside(self, error: Unworkable, lane: Lane) -> bool:
        _log.error("worker.cannot_seal", operation=str(error.at[1]), why=str(error))
        lane.faults += 1
        instruments.SEAL_FAULTS.labels(lane.rules.name).inc()
        return await self._sealer.set_aside(error, self._leasing.hold)

    async def _leave_alone(self, bad: Due, error: Exception, lane: Lane) -> None:
        _log.error("worker.cannot_seal", eid=format_eid(bad.eid), why=str(error))
        lane.faults += 1
        instruments.SEAL_FAULTS.labels(lane.rules.name).inc()
        async with transaction(self._pool) as db:
            await work.postpone(db, bad.bucket, bad.eid, _AFTER_FAULT)

    async def _rest(self, alarm: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._rules.interval):
                await alarm.wait()
                await asyncio.sleep(_COALESCE)

    def _hint(self, bucket: Bucket, eid: Eid | None) -> None:
        """Wake all loops; at the named eUICC they look first."""
        if eid is not None:
            for lane in (self._fast, self._slow):
                lane.hint(bucket, eid)
        for alarm in self._alarms.values():
            alarm.set()

    def _hinted(self, payload: str) -> None:
        text, _, eid = payload.partition(":")
        bucket = Bucket(int(text))
        if self._leasing.holds(bucket):
            self._hint(bucket, Eid(bytes.fromhex(eid)) if eid else None)

    async def _listen(self) -> None:
        """Be woken at once by who writes work. A hint only: without it, work is found one interval later."""
        while True:
            try:
                async with acquire(self._pool) as connection:
                    await self._hear(connection)
            except (Unavailable, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("worker.not_listening", why=type(error).__name__)
            await asyncio.sleep(_LISTEN_AGAIN)

    async def _hear(self, connection: Db) -> None:
        gone = asyncio.Event()

        def hinted(_connection: object, _pid: object, _channel: object, payload: object) -> None:
            self._hinted(str(payload))

        def moved(_connection: object, _pid: object, _channel: object, worker: object) -> None:
            if worker != str(self._leasing.holder):
                self._leasing.wake()

        def lost(_: object) -> None:
            gone.set()

        await connection.add_listener(_CHANNEL, hinted)
        await connection.add_listener(_LEASES, moved)
        connection.add_termination_listener(lost)
        try:
            await gone.wait()
        finally:
            connection.remove_termination_listener(lost)
            if not connection.is_closed():
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # it may be lost just now
                    await connection.remove_listener(_CHANNEL, hinted)
                    await connection.remove_listener(_LEASES, moved)


async def _survive(name: str, deed: Callable[[], Awaitable[int]], refresh: Callable[[], Awaitable[None]]) -> int:
    """Run a round; what the database or another worker did to it ends that round only."""
    try:
        done, ended = await _once(deed, refresh)
    except Contended:
        done, ended = 1, "contended"  # somebody else went first: look again at once
    except Unavailable as error:
        _log.warning("worker.database_away", why=error.code)
        done, ended = 0, "unavailable"
    instruments.ROUNDS.labels(name, ended).inc()
    return done


async def _once(deed: Callable[[], Awaitable[int]], refresh: Callable[[], Awaitable[None]]) -> tuple[int, str]:
    try:
        done = await deed()
    except LeaseLost as error:
        _log.warning("worker.lease_lost", why=str(error))
        await refresh()
        return 0, "lease_lost"
    return done, "worked" if done else "idle"
