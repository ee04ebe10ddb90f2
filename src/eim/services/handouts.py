"""Packages handed out to all that polled while the ones before were: one statement and one commit (design 3.2)."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

import structlog

from eim.domain.ids import Bucket, Eid
from eim.errors import EimError
from eim.protocol.esipa import package_answer
from eim.store import handouts
from eim.store.connect import Pool, acquire
from eim.store.handouts import Handouts

_MOST: Final = 200  # eUICCs in one statement
_DEADLINE: Final = 0.5  # seconds: a committed stop is final one second later
_APART: Final = 0.01  # seconds from one batch's beginning to the next: a commit costs as much as ten rows
_ENOUGH: Final = 32  # .. unless as many wait
_AGAIN: Final = 0.2  # seconds before a lost connection is made again

_log = structlog.get_logger()


class Caller(Protocol):
    """Whoever polled and waits for the answer."""

    def hear(self, found: bytes | EimError | None) -> None:
        """The answer; None: this one has to be answered by itself."""
        ...


class _Awaits:
    """A caller that a task waits in."""

    def __init__(self, told: "asyncio.Future[bytes | None]") -> None:
        self._told = told

    def hear(self, found: bytes | EimError | None) -> None:
        if not self._told.done():
            self._told.set_result(found if isinstance(found, bytes) else None)


class _Waits(NamedTuple):
    caller: Caller
    missed: Callable[[], None] | None


_Batch: TypeAlias = dict[tuple[Bucket, Eid], _Waits]


class HandingOut:
    """Guards those who wait for what is sealed for them. Holds one connection, so that no question waits behind it.

    Whoever is not in the simple case, or got in somebody's way, is answered by itself. Who comes alone is served at
    once, who comes shortly after another waits for a few milliseconds, less than a usual commit: others come, too.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._began = -_APART
        self._waiting: _Batch = {}
        self._again: list[tuple[tuple[Bucket, Eid], _Waits]] = []  # the same eUICC twice: each is a delivery of its own
        self._somebody = asyncio.Event()
        self._runs = False

    async def take(self, bucket: Bucket, eid: Eid) -> bytes | None:
        """The answer to `eid`, handed out with what waits for others; None: it has to be answered by itself."""
        if not self._runs:
            return None
        told: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self.ask(bucket, eid, _Awaits(told))
        return await told

    def ask(self, bucket: Bucket, eid: Eid, caller: Caller, missed: Callable[[], None] | None = None) -> None:
        """Have `caller` told once, from the event loop, after the commit.

        missed  called instead when there is nothing to take; None: then it is answered by itself
        """
        self._add((bucket, eid), _Waits(caller, missed))

    def _add(self, key: tuple[Bucket, Eid], waits: _Waits) -> None:
        if key in self._waiting:
            self._again.append((key, waits))
        else:
            self._waiting[key] = waits
        self._somebody.set()

    async def run(self) -> None:
        """Hand out until cancelled."""
        self._runs = True
        try:
            await self._run()
        finally:
            self._runs = False
            _leave_alone(self._take())

    async def _run(self) -> None:
        batch: _Batch = {}
        while True:
            try:
                async with acquire(self._pool) as db:
                    statement = await handouts.prepare(db)
                    while True:
                        await self._somebody.wait()
                        await self._gather()
                        batch = self._take()
                        await _hand_out(statement, batch)
            except EimError as error:
                if batch:
                    _log.info("handouts.alone", callers=len(batch), why=error.code)
                for each in (batch, self._take()):
                    _leave_alone(each)
                batch = {}
                await asyncio.sleep(_AGAIN)

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        early = self._began + _APART - loop.time()
        if early > 0 and len(self._waiting) < _ENOUGH:
            await asyncio.sleep(early)
        self._began = loop.time()

    def _take(self) -> _Batch:
        some = list(self._waiting)[:_MOST]
        batch = {key: self._waiting.pop(key) for key in some}
        again, self._again = self._again, []
        for key, waits in again:
            self._add(key, waits)
        if not self._waiting:
            self._somebody.clear()
        return batch


async def _hand_out(statement: Handouts, batch: _Batch) -> None:
    taken = await statement.take(list(batch), _DEADLINE)
    while batch:
        (_, eid), waits = batch.popitem()
        sealed = taken.get(eid)
        if sealed is not None:
            waits.caller.hear(package_answer(sealed))
        elif waits.missed is not None:
            waits.missed()
        else:
            waits.caller.hear(None)


def _leave_alone(batch: _Batch) -> None:
    for waits in batch.values():
        waits.caller.hear(None)
