"""One Postgres for all workers of a test run, kept by a guardian process of its own.

The guardian lives as long as any test process holds `clients` open, however that process ends, then stops Postgres and
deletes its data. If the guardian itself is killed, the kernel ends Postgres.
"""

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

import msgspec

from eim.postgres import Embedded
from eim.store.connect import DEFAULT_SCHEMA, DbRole
from eim.store.migrate import migrate

FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "scram_iterations": "1",
}
_TICK_S: Final = 0.1
_PATIENCE_S: Final = 90.0


class Cluster(msgspec.Struct, frozen=True):
    """How tests reach the Postgres of their run. Its database `eim` is migrated and serves as a template only."""

    superuser: str  # a DSN
    logins: dict[str, str]  # a DSN for each DbRole; all of the database `eim`


def join(folder: Path) -> tuple[Cluster, IO[bytes]]:
    """The cluster of `folder`, started when nobody did, and a file that keeps it up until it is closed."""
    clients = (folder / "clients").open("ab")
    fcntl.flock(clients, fcntl.LOCK_SH)  # waits while a guardian stops
    with (folder / "starting").open("ab") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not _is_held(folder / "guardian"):
            _start(folder)
    return msgspec.json.decode((folder / "cluster.json").read_bytes(), type=Cluster), clients


def _start(folder: Path) -> None:
    (folder / "cluster.json").unlink(missing_ok=True)
    with (folder / "guardian.log").open("ab") as log:
        guardian = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + _PATIENCE_S
    while not (folder / "cluster.json").exists():
        if guardian.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"no Postgres for the tests: {(folder / 'guardian.log').read_text()}")
        time.sleep(0.02)


def _is_held(path: Path) -> bool:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def _guard(folder: Path) -> None:
    held = (folder / "guardian").open("ab")
    fcntl.flock(held, fcntl.LOCK_EX)
    embedded = Embedded(folder / "postgres", FAST)
    try:
        await embedded.start()
        await migrate(embedded.dsn(DbRole.OWNER), DEFAULT_SCHEMA)
        _announce(folder, embedded)
        with (folder / "clients").open("ab") as clients:
            while _is_shared(clients):  # noqa: ASYNC110 - other processes hold it
                await asyncio.sleep(_TICK_S)
            (folder / "cluster.json").unlink(missing_ok=True)
            await embedded.remove()
            held.close()
    finally:
        await embedded.remove()


def _announce(folder: Path, embedded: Embedded) -> None:
    cluster = Cluster(embedded.superuser_dsn(), {role.value: embedded.dsn(role) for role in DbRole})
    unfinished = folder / "cluster.json.unfinished"
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(msgspec.json.encode(cluster))
    unfinished.rename(folder / "cluster.json")


def _is_shared(clients: IO[bytes]) -> bool:
    try:
        fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


if __name__ == "__main__":
    os.umask(0o077)
    asyncio.run(_guard(Path(sys.argv[1])))
