"""A deterministic scheduler: one task at a time goes on, from one await to the next, as a schedule says.

Services get pools whose connections stop before every statement, before every commit, and after each. All other awaits
are held by the event loop (`loop.py`). When nobody can go on by himself, the schedule picks who does. A statement that
waits for somebody's lock inside Postgres counts as standing still: it goes on when the transaction it waits for has
ended. Where several wait for the same one, the schedule says who is first, and the server processes of the others are
stopped until it stands again. So a schedule and its outcome can be repeated exactly.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Final, Self, cast

import msgspec
from asyncpg import InterfaceError

from eim.store import Db
from eim.store.connect import Pool
from tests.model.loop import ACTOR, Actor, SteppingLoop

_STATEMENTS: Final = frozenset({"execute", "executemany", "fetch", "fetchrow", "fetchval", "copy_records_to_table"})
_WAITING: Final = """
    SELECT pid, pg_blocking_pids(pid) AS blockers FROM pg_locks WHERE NOT granted AND pid = ANY($1::integer[])
"""
_PATIENCE: Final = 0.0005  # seconds until it is asked whether a statement waits for a lock
_LONG: Final = 10.0  # seconds of one statement: whoever was stopped may be in its way
_STUCK: Final = 120.0  # seconds after which a run is given up: a fault of the test itself
_AFTER: Final = "answered"
_AWAIT: Final = "goes on"
_LOCK: Final = "gets the lock"


class Step(msgspec.Struct, frozen=True):
    """One move: which task went on, and what it does next."""

    actor: str
    what: str

    @property
    def is_sql(self) -> bool:
        return self.what not in (_AFTER, _AWAIT, _LOCK)


# Who goes on, of those who can, in the order of their names.
Pick = Callable[[Sequence[str]], str]


class Stuck(Exception):
    """Nobody can go on, and not all have ended."""


class _Held(msgspec.Struct, frozen=True):
    name: str
    task: asyncio.Task[Any] | None
    handle: asyncio.Handle


class Scheduler:
    """Guards whose turn it is. Its pools may be shared by all runs, and so may those who serve all of them.

    monitor   of a superuser, to ask who waits for whom
    only_sql  switch at SQL boundaries alone: from all other awaits a task goes on at once
    """

    def __init__(self, loop: SteppingLoop, monitor: Db, *, only_sql: bool = False) -> None:
        self._loop = loop
        self._monitor = monitor
        self._only_sql = only_sql
        self._held: list[_Held] = []
        self._next: dict[asyncio.Task[Any], str] = {}
        self._names: dict[asyncio.Task[Any], str] = {}
        self._flying: dict[asyncio.Task[Any], int] = {}  # statements under way: the server process of each
        self._blocked: dict[asyncio.Task[Any], frozenset[int]] = {}  # .. those that wait for these processes' locks
        self._stopped: dict[asyncio.Task[Any], int] = {}  # .. those of them whose server processes stand still
        self._looking: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._serving: list[asyncio.Task[Any]] = []
        self._pick: Pick = min
        self.steps: list[Step] = []  # of the last run
        self._over = loop.create_future()

    async def run(self, deeds: Mapping[str, Callable[[], Awaitable[object]]], pick: Pick) -> list[Step]:
        """Run all `deeds` to their ends, interleaved as `pick` says. What a deed raises is kept in `errors`.

        Raises Stuck when nobody can go on.
        """
        self._pick, self.steps, self._over = pick, [], self._loop.create_future()
        self._loop.stand_still()
        self._loop.conductor = self
        self._tasks = {name: self._start(name, deed) for name, deed in deeds.items()}
        try:
            async with asyncio.timeout(_STUCK):
                await self._over
        finally:
            self._loop.conductor = None
            self._let_all_go()
            self._wake(len(self._stopped))
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        return self.steps

    def serve(self, name: str, deed: Callable[[], Awaitable[object]]) -> None:
        """Run `deed` until `close`: whoever serves the runs takes its steps in them, too."""
        self._serving.append(self._start(name, deed))

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def errors(self) -> dict[str, BaseException]:
        """What the actors of the last run ended with, of those who did not end well."""
        ended = {name: task for name, task in self._tasks.items() if task.done() and not task.cancelled()}
        return {name: error for name, task in ended.items() if (error := task.exception()) is not None}

    def _start(self, name: str, deed: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
        async def live() -> None:
            await self.boundary("begin")
            await deed()

        was = ACTOR.set(Actor(name))
        try:
            return self._loop.create_task(live())
        finally:
            ACTOR.reset(was)

    def _let_all_go(self) -> None:
        held, self._held = self._held, []
        for each in held:
            self._loop.call_soon(each.handle._run)
        self._next.clear()
        self._names.clear()

    # --- What the event loop asks -------------------------------------------------------------------------------------

    def holds(self, task: asyncio.Task[Any]) -> bool:
        return task not in self._flying

    def hold(self, name: str, task: asyncio.Task[Any] | None, handle: asyncio.Handle) -> None:
        self._held.append(_Held(name, task, handle))

    def choose(self) -> asyncio.Handle | None:
        self._held = [each for each in self._held if not each.handle.cancelled()]
        options = {each.name: each for each in self._held}
        if len(self._flying) > len(self._blocked):
            if (options or self._stopped) and self._looking is None:
                self._looking = self._loop.call_later(_PATIENCE, self._look)
            return None
        if self._stopped:
            self._wake(1)
            return self.choose()
        if not options:
            if not self._flying and not self._over.done():
                self._end()
            return None
        chosen = options[self._picked(options)]
        self._held.remove(chosen)
        what = _AWAIT if chosen.task is None else self._next.pop(chosen.task, _AWAIT)
        self.steps.append(Step(chosen.name, what))
        return chosen.handle

    def _picked(self, options: Mapping[str, _Held]) -> str:
        if self._only_sql:
            free = [name for name, each in options.items() if self._goes_on(each.task)]
            if free:
                return min(free)
        return self._pick(sorted(options))

    def _goes_on(self, task: asyncio.Task[Any] | None) -> bool:
        return task is None or self._next.get(task, _AFTER) is _AFTER

    def _end(self) -> None:
        left = [name for name, task in self._tasks.items() if not task.done()]
        if left:
            self._over.set_exception(Stuck(f"{' and '.join(left)} can't go on"))
        else:
            self._over.set_result(None)

    # --- Statements ---------------------------------------------------------------------------------------------------

    async def boundary(self, what: str) -> None:
        """Stand still before `what`, when an actor asks in a run; whoever is none goes on at once."""
        actor = ACTOR.get()
        if actor is None or self._loop.conductor is None:
            return
        task = asyncio.current_task()
        assert task is not None
        self._next[task] = what
        self._names[task] = actor.name_of(task)
        await asyncio.sleep(0)

    async def answered(self) -> None:
        await self.boundary(_AFTER)

    @contextmanager
    def flying(self, real: Db, *, ends: bool = False) -> Iterator[None]:
        """A statement on `real` is under way: its own awaits are no places to switch at.

        ends  it ends a transaction, or a part of one: who waits for its locks may then go on
        """
        task = asyncio.current_task()
        if ACTOR.get() is None or task is None:
            yield
            return
        pid = real.get_server_pid()
        freed = self._line_up(pid) if ends or not real.is_in_transaction() else None
        self._flying[task] = pid
        guard = self._loop.call_later(_LONG, self._wake, len(self._stopped)) if self._stopped else None
        try:
            yield
        finally:
            if guard is not None:
                guard.cancel()
            del self._flying[task]
            self._blocked.pop(task, None)
            if freed is not None:
                self._blocked.pop(freed, None)

    def _line_up(self, pid: int) -> asyncio.Task[Any] | None:
        """The one that goes on first of those that wait, also through others, for a lock of this server process."""
        ahead, waiting = {pid}, dict[str, asyncio.Task[Any]]()
        while found := [task for task, by in self._blocked.items() if by & ahead and self._flying[task] not in ahead]:
            ahead |= {self._flying[task] for task in found}
            waiting |= {self._names[task]: task for task in found}
        if len(waiting) < 2:
            return next(iter(waiting.values()), None)
        free = [name for name, task in waiting.items() if self._blocked[task] <= {pid}]  # nobody is in front of them
        first = self._pick(sorted(free or waiting))
        self.steps.append(Step(first, _LOCK))
        for name, task in waiting.items():
            if name != first and task not in self._stopped:
                os.kill(self._flying[task], signal.SIGSTOP)
                self._stopped[task] = self._flying[task]
        if self._stopped.pop(waiting[first], None) is not None:
            os.kill(self._flying[waiting[first]], signal.SIGCONT)
        return waiting[first]

    def _wake(self, many: int) -> None:
        """Let stopped server processes go on: they get their locks, or wait again."""
        for task, pid in list(self._stopped.items())[:many]:
            del self._stopped[task]
            self._blocked.pop(task, None)
            os.kill(pid, signal.SIGCONT)

    def _look(self) -> None:
        self._looking = self._loop.create_task(self._find_waiting())

    async def _find_waiting(self) -> None:
        asked = {pid: task for task, pid in self._flying.items() if task not in self._blocked}
        for pid, blockers in await self._monitor.fetch(_WAITING, list(asked)) if asked else ():
            if self._flying.get(asked[pid]) == pid and blockers:
                self._blocked[asked[pid]] = frozenset(blockers)
        self._looking = None


class ControlledPool:
    """Connections that stop at every boundary; the same one is always taken first. Use `controlled`."""

    def __init__(self, pool: Pool, connections: Sequence[Db], scheduler: Scheduler) -> None:
        self._pool = pool
        self._free = dict(enumerate(connections))
        self._scheduler = scheduler
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator["_Connection"]:  # noqa: ASYNC109 - asyncpg's
        while not self._free:
            ready = asyncio.get_running_loop().create_future()
            self._waiting.append(ready)
            await ready
        place = min(self._free)
        real = self._free.pop(place)
        try:
            if _is_lost(real):  # what took longer than its deadline, on a machine that does much else
                real = await self._pool.acquire()
            yield _Connection(real, self._scheduler)
        finally:
            self._free[place] = real
            while self._waiting:
                if not (ready := self._waiting.pop(0)).done():
                    ready.set_result(None)
                    break


async def controlled(pool: Pool, size: int, scheduler: Scheduler) -> Pool:
    """`size` connections of `pool`, kept for good, which stop at every boundary."""
    return cast("Pool", ControlledPool(pool, [await pool.acquire() for _ in range(size)], scheduler))


def _is_lost(real: Db) -> bool:
    try:
        return real.is_closed()
    except InterfaceError:  # its pool has taken it back
        return True


class _Statement:
    """One of asyncpg's, prepared, with a boundary before and after it."""

    def __init__(self, query: str, statement: Any, connection: "_Connection") -> None:
        self._query = query
        self._statement = statement
        self._connection = connection

    def __getattr__(self, name: str) -> Any:  # all that asyncpg's has
        found = getattr(self._statement, name)
        return self._connection.stopping(name, self._query, found) if name in _STATEMENTS else found


class _Connection:
    """One of asyncpg's, with a boundary before and after each statement."""

    def __init__(self, real: Db, scheduler: Scheduler) -> None:
        self._real = real
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:  # all that asyncpg's connection has
        found = getattr(self._real, name)
        if name not in _STATEMENTS:
            return found

        async def stopped(query: str, *arguments: Any, **options: Any) -> Any:
            return await self.stopping(name, query, found)(query, *arguments, **options)

        return stopped

    def transaction(self, **options: Any) -> "_Transaction":
        return _Transaction(self._real, self._scheduler, options)

    async def prepare(self, query: str, **options: Any) -> _Statement:
        with self._scheduler.flying(self._real):
            return _Statement(query, await self._real.prepare(query, **options), self)

    def stopping(
        self, name: str, query: str, statement: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def stopped(*arguments: Any, **options: Any) -> Any:
            await self._scheduler.boundary(f"{name} {' '.join(query[:240].split())[:80]}")
            try:
                with self._scheduler.flying(self._real):
                    return await statement(*arguments, **options)
            finally:
                await self._scheduler.answered()

        return stopped


class _Transaction:
    """One of asyncpg's, with a boundary before the commit and after it."""

    def __init__(self, real: Db, scheduler: Scheduler, options: dict[str, Any]) -> None:
        self._real = real
        self._transaction = real.transaction(**options)
        self._scheduler = scheduler

    async def __aenter__(self) -> Self:
        with self._scheduler.flying(self._real):
            await self._transaction.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self._scheduler.boundary("commit")
        try:
            with self._scheduler.flying(self._real, ends=True):
                await self._transaction.__aexit__(kind, error, trace)
        finally:
            await self._scheduler.answered()
