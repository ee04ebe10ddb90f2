"""A deterministic scheduler: one actor at a time goes on, from one SQL boundary to the next, as a schedule says.

Services get pools whose connections stop before every statement and before every commit. When all actors stand still,
the schedule picks who goes on. An actor that waits for another one's lock inside Postgres counts as standing still; it
can't be picked, and goes on by itself when the lock is free. So a schedule and its outcome can be repeated exactly.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Self, cast

import msgspec

from eim.store import Db
from eim.store.connect import Pool

_STATEMENTS: Final = frozenset({"execute", "executemany", "fetch", "fetchrow", "fetchval", "copy_records_to_table"})
_WAITING: Final = "SELECT pid FROM pg_locks WHERE NOT granted AND pid = ANY($1::integer[])"
_PATIENCE: Final = 0.002  # seconds until it is asked whether an actor waits for a lock
_STUCK: Final = 120.0  # seconds after which nobody moves any more: a fault of the test itself

_actor: ContextVar["Actor | None"] = ContextVar("_actor", default=None)


class Step(msgspec.Struct, frozen=True):
    """One move: who went on, and what it did next."""

    actor: str
    what: str


class Actor:
    """Guards where one actor stands: at a boundary, inside Postgres, or at its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gate: asyncio.Future[None] | None = None  # there while it stands at a boundary
        self.next = ""  # what it does when it goes on
        self.pid: int | None = None  # the server process that works for it now
        self.error: BaseException | None = None
        self.ended = False


# Who goes on, of those who can, in the order of their names.
Pick = Callable[[Sequence[str]], str]


class Scheduler:
    """Guards the actors of one run. Its pools may be shared by all runs."""

    def __init__(self, monitor: Db) -> None:
        self._monitor = monitor
        self._moved = asyncio.Event()
        self._actors: list[Actor] = []

    async def run(self, deeds: Mapping[str, Callable[[], Awaitable[object]]], pick: Pick) -> list[Step]:
        """Run all `deeds` to their ends, interleaved as `pick` says. What a deed raises is kept in `errors`."""
        self._actors = [Actor(name) for name in deeds]
        tasks = [asyncio.get_running_loop().create_task(self._live(actor, deeds[actor.name])) for actor in self._actors]
        steps: list[Step] = []
        try:
            async with asyncio.timeout(_STUCK):
                while True:
                    await self._stand_still()
                    ready = {actor.name: actor for actor in self._actors if actor.gate is not None}
                    if not ready and all(actor.ended for actor in self._actors):
                        return steps
                    if ready:
                        chosen = ready[pick(sorted(ready))]
                        steps.append(Step(chosen.name, chosen.next))
                        self._let_go(chosen)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def errors(self) -> dict[str, BaseException]:
        """What the actors of the last run ended with, of those who did not end well."""
        return {actor.name: actor.error for actor in self._actors if actor.error is not None}

    async def boundary(self, what: str) -> None:
        """Stand still before `what`, when an actor asks; whoever is none goes on at once."""
        actor = _actor.get()
        if actor is None:
            return
        actor.pid = None
        actor.gate, actor.next = asyncio.get_running_loop().create_future(), what
        self._moved.set()
        await actor.gate

    def works(self, pid: int) -> None:
        """A server process begins to work for the actor that asks."""
        actor = _actor.get()
        if actor is not None:
            actor.pid = pid

    async def _live(self, actor: Actor, deed: Callable[[], Awaitable[object]]) -> None:
        _actor.set(actor)
        try:
            await self.boundary("begin")
            await deed()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
            actor.error = error
        finally:
            actor.ended = True
            self._moved.set()

    def _let_go(self, actor: Actor) -> None:
        gate, actor.gate = actor.gate, None
        assert gate is not None
        gate.set_result(None)

    async def _stand_still(self) -> None:
        """Return when every actor stands at a boundary, waits for a lock, or has ended."""
        while True:
            self._moved.clear()
            moving = [actor for actor in self._actors if actor.gate is None and not actor.ended]
            if not moving:
                return
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._moved.wait()
            except TimeoutError:
                if await self._all_wait(moving) and any(actor.gate is not None for actor in self._actors):
                    return

    async def _all_wait(self, moving: Sequence[Actor]) -> bool:
        pids = {actor.pid for actor in moving}
        if None in pids:
            return False
        waiting = {row["pid"] for row in await self._monitor.fetch(_WAITING, list(pids))}
        return waiting == pids


def controlled(pool: Pool, scheduler: Scheduler) -> Pool:
    """`pool`, whose connections stop at every boundary."""
    return cast("Pool", _Pool(pool, scheduler))


class _Pool:
    def __init__(self, pool: Pool, scheduler: Scheduler) -> None:
        self._pool = pool
        self._scheduler = scheduler

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator["_Connection"]:  # noqa: ASYNC109 - asyncpg's
        async with self._pool.acquire(timeout=timeout) as connection:
            yield _Connection(cast("Db", connection), self._scheduler)


class _Connection:
    """One of asyncpg's, with a boundary before each statement."""

    def __init__(self, real: Db, scheduler: Scheduler) -> None:
        self._real = real
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:  # all that asyncpg's connection has
        found = getattr(self._real, name)
        return self._stopping(name, found) if name in _STATEMENTS else found

    def transaction(self, **options: Any) -> "_Transaction":
        return _Transaction(self._real, self._scheduler, options)

    def _stopping(self, name: str, statement: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def stopped(*arguments: Any, **options: Any) -> Any:
            await self._scheduler.boundary(f"{name} {' '.join(str(arguments[0]).split())[:80]}")
            self._scheduler.works(self._real.get_server_pid())
            return await statement(*arguments, **options)

        return stopped


class _Transaction:
    """One of asyncpg's, with a boundary before the commit."""

    def __init__(self, real: Db, scheduler: Scheduler, options: dict[str, Any]) -> None:
        self._real = real
        self._transaction = real.transaction(**options)
        self._scheduler = scheduler

    async def __aenter__(self) -> Self:
        await self._transaction.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self._scheduler.boundary("commit")
            self._scheduler.works(self._real.get_server_pid())
        await self._transaction.__aexit__(kind, error, trace)
