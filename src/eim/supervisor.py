"""Role processes under one supervisor: it starts them, starts a dead one again, and ends them in order."""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import structlog

_PR_SET_PDEATHSIG: Final = 1
_SUPERVISED_BY: Final = "EIM_SUPERVISED_BY"
_BACK_OFF: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start of one that keeps dying
_STEADY_S: Final = 30.0  # up this long, a role is no longer one that keeps dying
_PATIENCE_S: Final = 15.0  # for a clean end, before it is killed
EX_CONFIG: Final = 78  # a role's exit code for "starting me again won't help"

_log = structlog.get_logger()


class Role(StrEnum):
    DEVICE = "device"
    OPERATOR = "operator"
    WORKER = "worker"


class Start(msgspec.Struct, frozen=True):
    """How one process of a role is started.

    descriptors  listening sockets it inherits: a restart drops no connection that still waits to be accepted
    secret       gives octets for its eyes only. It reads them from a pipe, whose number is the command's last word
    """

    role: Role
    command: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()
    number: int = 1  # of the processes of its role
    secret: Callable[[], bytes] | None = None


class Supervisor:
    """Guards the role processes."""

    def __init__(self, starts: Sequence[Start], log: Path | None = None) -> None:
        self._starts = starts
        self._logfile = log  # what the roles write; None: our own standard error
        self._processes: dict[tuple[Role, int], asyncio.subprocess.Process] = {}
        self._ending = asyncio.Event()
        self.code = 0  # what the supervisor should exit with

    def pid(self, role: Role, number: int = 1) -> int | None:
        """The process that serves `role` now, the first one of it; None between two starts."""
        process = self._processes.get((role, number))
        return process.pid if process is not None and process.returncode is None else None

    def reload(self) -> None:
        """Tell the roles with a port to look at their certificates; nothing is interrupted."""
        for process in (*self._alive(Role.DEVICE), *self._alive(Role.OPERATOR)):
            process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """Ask for an orderly end; `run` returns when it has happened."""
        self._ending.set()

    async def run(self) -> None:
        """Keep all roles up until `end`, then end them: those that take requests first, the worker last."""
        async with asyncio.TaskGroup() as group:
            for start in self._starts:
                group.create_task(self._keep_up(start))
            await self._ending.wait()
            await self._end_all()

    async def _keep_up(self, start: Start) -> None:
        deaths = 0
        while not self._ending.is_set():
            began = time.monotonic()
            process = await _launch(start, self._logfile)
            self._processes[start.role, start.number] = process
            code = await process.wait()
            if self._ending.is_set():
                return
            if code == EX_CONFIG:
                self.code = EX_CONFIG
                self._ending.set()
                return
            deaths = 0 if time.monotonic() - began > _STEADY_S else deaths + 1
            pause = _BACK_OFF[min(deaths, len(_BACK_OFF)) - 1] if deaths else 0.0
            _log.warning("role.died", role=start.role.value, number=start.number, code=code, again_in_s=pause)
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    async def _end_all(self) -> None:
        for role in (Role.DEVICE, Role.OPERATOR, Role.WORKER):
            await asyncio.gather(*map(_end, self._alive(role)))

    def _alive(self, role: Role) -> Sequence[asyncio.subprocess.Process]:
        return [p for (of, _), p in self._processes.items() if of is role and p.returncode is None]


async def _launch(start: Start, log: Path | None) -> asyncio.subprocess.Process:
    with contextlib.ExitStack() as stack:
        told = [_whispered(start.secret, stack)] if start.secret else []
        process = await asyncio.create_subprocess_exec(
            *start.command,
            *map(str, told),
            env={**start.environment, _SUPERVISED_BY: str(os.getpid())},
            pass_fds=[*start.descriptors, *told],
            stdin=asyncio.subprocess.DEVNULL,
            stderr=stack.enter_context(log.open("ab")) if log else None,
            start_new_session=True,  # ctrl-C is for the supervisor, which ends its roles in order
        )
    _log.info("role.started", role=start.role.value, number=start.number, pid=process.pid)
    return process


def _whispered(secret: Callable[[], bytes], stack: contextlib.ExitStack) -> int:
    """The end of a pipe in which the octets lie: few enough that nobody has to read before they are written."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    try:
        os.write(writing, secret())
    finally:
        os.close(writing)
    return reading


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await process.wait()
    except TimeoutError:
        _log.warning("role.killed", pid=process.pid, why=f"it did not end within {_PATIENCE_S:g} s")
        process.kill()
        await process.wait()


def die_with_supervisor() -> None:
    """Called by a role process at its start: a killed supervisor leaves nothing that blocks the next start."""
    supervisor = os.environ.pop(_SUPERVISED_BY, None)
    if supervisor is None:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(supervisor):
        raise SystemExit("the supervisor is gone: nothing to serve for")
