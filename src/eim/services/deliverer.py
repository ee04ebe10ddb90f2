"""The couriers of one worker process: one for each webhook that is switched on."""

import asyncio
from uuid import UUID

import asyncpg
import structlog

from eim.errors import EimError
from eim.services.courier import Courier, Joined
from eim.store import deliveries
from eim.store.connect import acquire

_log = structlog.get_logger()


class Deliverer:
    """Guards the couriers' tasks. What goes wrong with one webhook is no other's business."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._tasks = {ident: task for ident, task in self._tasks.items() if not task.done()}
                for ident in await self._enabled():
                    if ident not in self._tasks:
                        self._tasks[ident] = group.create_task(self._serve(ident))
                await asyncio.sleep(self._joined.rules.interval)

    async def _enabled(self) -> frozenset[UUID]:
        try:
            async with acquire(self._joined.pool) as db:
                return await deliveries.enabled(db)
        except (EimError, asyncpg.PostgresError) as error:
            _log.warning("webhooks.not_read", why=getattr(error, "code", type(error).__name__))
            return frozenset()

    async def _serve(self, ident: UUID) -> None:
        courier = Courier(ident, self._joined)
        while (done := await self._round(courier, ident)) is not None:
            if not done:
                await asyncio.sleep(self._joined.rules.interval)

    async def _round(self, courier: Courier, ident: UUID) -> int | None:
        try:
            return await courier.round()
        except (EimError, asyncpg.PostgresError) as error:
            _log.warning("webhook.interrupted", webhook=str(ident), why=getattr(error, "code", type(error).__name__))
            return 0
