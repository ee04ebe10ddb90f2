"""The processes of an embedded Postgres: made, started, found again after a crash, ended."""

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from eim.errors import BadConfiguration, DatabaseUnavailable
from eim.postgres.home import Home, give, write_private

_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}  # none of our own: it may hold secrets
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LOG_LIMIT: Final = 10_000_000
_TICK_S: Final = 0.02
_START_S: Final = 60.0
# SIGINT: fast, a clean shutdown. SIGQUIT: at once, recovered from the log at the next start. SIGKILL: the same, for
# one that no longer listens.
_WAYS_OUT: Final = ((signal.SIGINT, 45.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))


def require_linux() -> None:
    """Raises BadConfiguration elsewhere: a dead parent's Postgres could not be found and ended."""
    if sys.platform != "linux":
        raise BadConfiguration("the embedded database runs on Linux only: give database.dsn")


def make_cluster(home: Home, programs: Path, password: str, options: tuple[str, ...]) -> None:
    """Run initdb for a new, empty cluster; it appears at `home.data` by one rename, whole. About a second."""
    shutil.rmtree(home.making, ignore_errors=True)
    home.making.mkdir(mode=0o700)
    account = home.server.account
    password_file = home.making / "password"
    write_private(password_file, password.encode(), account)
    if account is not None:
        os.chown(home.making, account, account)
    _initdb(home, programs, password_file, options)
    password_file.unlink()
    if home.server.user is not None:
        give(home.making, home.server.user)
    (home.making / "data").rename(home.data)
    home.making.rmdir()


def _initdb(home: Home, programs: Path, password_file: Path, options: tuple[str, ...]) -> None:
    command = [
        str(programs / "initdb"),
        *("-D", str(home.making / "data"), "-U", "eim_superuser", "--pwfile", str(password_file)),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", *options),
    ]
    done = subprocess.run(
        command,
        cwd=home.path,
        env=_ENVIRONMENT,
        user=home.server.account,
        group=home.server.account,
        extra_groups=None if home.server.account is None else [],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise failure("the database can't be made", done.stderr)


def start_server(home: Home, programs: Path, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the postmaster. It ends, cleanly, when the thread that calls this does: call it in the main thread."""
    if home.log.exists() and home.log.stat().st_size > _LOG_LIMIT:
        home.log.rename(home.log.with_suffix(".log.1"))
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with os.fdopen(os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
        return subprocess.Popen(
            [str(programs / "postgres"), "-D", str(home.data), *options],
            cwd=home.path,
            env=_ENVIRONMENT,
            user=home.server.user,
            group=home.server.user,
            extra_groups=None if home.server.user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # ctrl-C is for us; we end Postgres after those who use it
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - two system calls, after setuid, which would undo them
        )


def _die_with(parent: int) -> Callable[[], None]:
    def ask_the_kernel() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel


async def wait_until_ready(home: Home, process: subprocess.Popen[bytes], log_from: int) -> None:
    """Return when the server takes connections. Raises DatabaseUnavailable or BadConfiguration with its own words."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise failure("the database does not start", _log_after(home, log_from))
        if _is_ready(home, process.pid):
            return
        await asyncio.sleep(_TICK_S)
    raise DatabaseUnavailable(f"the database did not start within {_START_S:.0f} s: see {home.log}")


def _is_ready(home: Home, pid: int) -> bool:
    try:
        lines = (home.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def log_size(home: Home) -> int:
    return home.log.stat().st_size if home.log.exists() else 0


def _log_after(home: Home, start: int) -> str:
    with home.log.open("rb") as log:
        log.seek(min(start, log_size(home)))
        return log.read().decode(errors="replace")


def failure(what: str, said: str) -> BadConfiguration | DatabaseUnavailable:
    """The error for what a program of Postgres said before it ended."""
    last = " ".join(line for line in said.strip().splitlines()[-4:] if "LOG:" not in line) or "it said nothing"
    if "No space left on device" in said:
        return DatabaseUnavailable(f"{what}: the disk is full, free some space ({last})")
    return BadConfiguration(f"{what}: {last}")


async def end_process(process: subprocess.Popen[bytes]) -> None:
    """End the postmaster we started: cleanly, harder when it takes too long."""
    for way, patience in _WAYS_OUT:
        if process.poll() is None:
            process.send_signal(way)
        await _patiently(lambda: process.poll() is not None, patience)


async def end_leftovers(home: Home) -> None:
    """End what a killed predecessor left running on this data, and clear a pid file that would mislead.

    The caller holds the home's lock, so nobody needs these processes any more. Their data is safe in any case.
    """
    for way, patience in _WAYS_OUT:
        for pid in living_in(home.data):
            if way is not signal.SIGINT or _is_postmaster(home, pid):
                _signal(pid, way)
        await _patiently(lambda: not living_in(home.data), patience)
    if left := living_in(home.data):
        raise DatabaseUnavailable(f"the processes {left} still use {home.data} and can't be ended: end them")
    _forget_reused_pid(home)


async def _patiently(happened: Callable[[], bool], patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while not happened() and time.monotonic() < until:  # noqa: ASYNC110 - nothing in this process sees it happen
        await asyncio.sleep(_TICK_S)


def living_in(data: Path) -> list[int]:
    """The processes whose working folder is `data`: the postmaster and all its children, nobody else."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink() == data:
                found.append(int(entry.name))
        except OSError:  # ended, or not ours to look at
            continue
    return found


def _is_postmaster(home: Home, pid: int) -> bool:
    return _recorded_pid(home) in (pid, None)


def _recorded_pid(home: Home) -> int | None:
    try:
        return int((home.data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _forget_reused_pid(home: Home) -> None:
    """Postgres does not start when the pid in its file lives, even as another program. Ours is dead, we looked."""
    pid = _recorded_pid(home)
    if pid is not None and Path(f"/proc/{pid}").exists():
        (home.data / "postmaster.pid").unlink()
    for lock in home.socket.glob(".s.PGSQL.*.lock"):
        lock.unlink()


def _signal(pid: int, way: signal.Signals) -> None:
    try:
        os.kill(pid, way)
    except ProcessLookupError:
        return
