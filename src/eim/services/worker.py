"""The worker role: in rounds, it serves requests, ends what is past its time, and seals what is due (design 3.6)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import asyncpg
import msgspec
import structlog

from eim.domain.ids import Bucket, Eid, format_eid
from eim.errors import Contended, EimError, LeaseLost, Unavailable
from eim.services.asking import Asking
from eim.services.leasing import Leasing
from eim.services.sealing import Sealer
from eim.store import Db, requests, work
from eim.store.connect import Pool, acquire, transaction

_CHANNEL: Final = "eim_work"
_LEASES: Final = "eim_leases"
_REQUESTS_A_ROUND: Final = 200
_LISTEN_AGAIN: Final = 2.0  # seconds
_AFTER_FAULT: Final = 60.0  # seconds that an eUICC which can't be sealed is left alone

_log = structlog.get_logger()


class WorkerRules(msgspec.Struct, frozen=True):
    """What the configuration says about the worker."""

    batch: int  # eUICCs a round
    ahead: int  # packages in front of one eUICC
    interval: float  # seconds between looks when nobody hints


class Worker:
    """Guards the loop and its alarm clock. Everything it does can be repeated, and is refused without its lease."""

    def __init__(self, pool: Pool, leasing: Leasing, sealer: Sealer, asking: Asking, rules: WorkerRules) -> None:
        self._pool = pool
        self._leasing = leasing
        self._sealer = sealer
        self._asking = asking
        self._rules = rules
        self._hinted = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leasing.run())
            group.create_task(self._listen())
            while True:
                self._hinted.clear()
                if not await self._round_or_wait():
                    await self._rest()

    async def round(self) -> int:
        """One round; how much it did. 0: there was nothing to do."""
        with self._leasing.round() as buckets:
            return await self._round(buckets)

    async def _round(self, buckets: Sequence[Bucket]) -> int:
        async with acquire(self._pool) as db:
            asked = await requests.due(db, buckets, _REQUESTS_A_ROUND)
            expiring = await work.expiring(db, buckets, _REQUESTS_A_ROUND)
        served = 0
        for request in asked:
            served += await self._alone(request.eid, self._asking.serve(request, self._leasing.hold))
        for each in expiring:
            served += await self._alone(each.eid, self._asking.expire(each, self._leasing.hold))
        async with acquire(self._pool) as db:
            due = await work.due(db, buckets, self._rules.ahead, self._rules.batch)
        sealed = await self._seal(due) if due else 0
        return served + sealed

    async def _alone(self, eid: Eid, deed: Awaitable[None]) -> int:
        """Do one thing for one eUICC; 0 when it can't be done, which must not hold up the others."""
        try:
            await deed
        except (LeaseLost, Unavailable):
            raise
        except (EimError, ValueError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            _log.error("worker.cannot_serve", eid=format_eid(eid), why=str(error))
            return 0
        return 1

    async def _seal(self, due: Sequence[tuple[Bucket, Eid]]) -> int:
        """Seal a batch; when it can't be, one by one, so that a bad one does not hold up the others."""
        try:
            return await self._sealer.seal(sorted(due), self._leasing.hold)
        except (LeaseLost, Unavailable):
            raise
        except (EimError, ValueError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(due) == 1:
                await self._leave_alone(*due[0], error)
                return 0
            return sum([await self._seal([one]) for one in due])

    async def _leave_alone(self, bucket: Bucket, eid: Eid, error: Exception) -> None:
        _log.error("worker.cannot_seal", eid=format_eid(eid), why=str(error))
        async with transaction(self._pool) as db:
            await work.postpone(db, bucket, eid, _AFTER_FAULT)

    async def _round_or_wait(self) -> int:
        return await _survive(self.round, self._leasing.refresh)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._rules.interval):
                await self._hinted.wait()
        except TimeoutError:
            pass

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

        def hinted(*_: object) -> None:
            self._hinted.set()

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


async def _survive(deed: Callable[[], Awaitable[int]], refresh: Callable[[], Awaitable[None]]) -> int:
    """Run a round; what the database or another worker did to it ends that round only."""
    try:
        return await _once(deed, refresh)
    except Contended:
        return 1  # somebody else went first: look again at once
    except Unavailable as error:
        _log.warning("worker.database_away", why=error.code)
    return 0


async def _once(deed: Callable[[], Awaitable[int]], refresh: Callable[[], Awaitable[None]]) -> int:
    try:
        return await deed()
    except LeaseLost as error:
        _log.warning("worker.lease_lost", why=str(error))
        await refresh()
        return 0
