"""An event loop that runs the steps of some tasks only when it is told which one.

A task goes on from each of its awaits by a step that the event loop runs. Here the steps of tasks that act for an
`Actor` are held back, and so are their short timers: a conductor picks one when nothing else can be run. All other
tasks and callbacks run as they do elsewhere. What would be done in another thread is done at once.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, Protocol, cast

_SOON: Final = 0.25  # seconds: a timer that short may be the first or the last thing to happen
_PATIENCE: Final = 60.0  # seconds that statements have beyond their deadlines


class Actor:
    """Who acts: a task, and all tasks that it starts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks: dict[asyncio.Task[Any], str] = {}  # by what name its steps are picked

    def name_of(self, task: asyncio.Task[Any]) -> str:
        return self.tasks.setdefault(task, f"{self.name}.{len(self.tasks)}" if self.tasks else self.name)


ACTOR: Final[ContextVar[Actor | None]] = ContextVar("ACTOR", default=None)


class Conductor(Protocol):
    """Says what is held back, and which step is next."""

    def holds(self, task: asyncio.Task[Any]) -> bool:
        """Whether steps of this task of an actor wait to be picked now."""
        ...

    def hold(self, name: str, task: asyncio.Task[Any] | None, handle: asyncio.Handle) -> None:
        """A step of `task` can be taken now, or a timer (None) be over."""
        ...

    def choose(self) -> asyncio.Handle | None:
        """What is next; None: first there must be an answer from outside."""
        ...


class SteppingLoop(asyncio.SelectorEventLoop):
    """Guards what is ready. `conductor` is there while steps are to be held back."""

    def __init__(self) -> None:
        super().__init__()
        self.conductor: Conductor | None = None
        self._since = 0.0

    def stand_still(self) -> None:
        """For actors no time passes from now on until the next call: how fast they are must not change what they do."""
        self._since = super().time()

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        task = super().create_task(coro, **options)
        actor = (options.get("context") or copy_context()).get(ACTOR)
        if actor is not None:
            actor.name_of(task)
        return task

    def time(self) -> float:
        return super().time() if self.conductor is None or ACTOR.get() is None else self._since

    def _call_soon(self, callback: Callable[..., object], args: Any, context: Context | None) -> asyncio.Handle:
        task = getattr(callback, "__self__", None)
        if self.conductor is not None and isinstance(task, asyncio.Task):
            context = copy_context() if context is None else context
            actor = context.get(ACTOR)
            if actor is not None and self.conductor.holds(task):
                handle = asyncio.Handle(callback, args, self, context)
                self.conductor.hold(actor.name_of(task), task, handle)
                return handle
        return cast("asyncio.Handle", super()._call_soon(callback, args, context))  # type: ignore[misc] # asyncio's own

    def call_at(  # type: ignore[override] # typeshed's is bound by TypeVars
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        actor = (context or copy_context()).get(ACTOR)
        if self.conductor is None or actor is None:
            return super().call_at(when, callback, *args, context=context)
        task = asyncio.current_task(self)
        if task is None or not self.conductor.holds(task):  # a deadline of a statement, which a busy machine may miss
            return super().call_at(when + _PATIENCE, callback, *args, context=context)
        if when - self.time() > _SOON:
            return super().call_at(when, callback, *args, context=context)
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.conductor.hold(f"{actor.name_of(task)}'s timer", None, timer)
        return timer

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override] # typeshed's is bound by TypeVars
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as from a thread
            done.set_exception(error)
        return done

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined] # asyncio's own
        while not ready and self.conductor is not None and (handle := self.conductor.choose()) is not None:
            handle._run()
        super()._run_once()  # type: ignore[misc] # asyncio's own
