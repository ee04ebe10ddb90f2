"""Several real worker processes on one database: stopped, ended, killed; each eUICC's work is done once."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from eim import app
from eim.config_loading import load
from eim.domain.ids import bucket_of
from eim.sim.pki import EIN, eids
from eim.store.connect import DbRole
from tests.database import Database
from tests.serving.served import environment

pytestmark = pytest.mark.xdist_group("serving")

_LEASE_S: Final = 2.0
_CARDS: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter, introduced_at, speaks)
    SELECT u.bucket, u.eid, 1, i.id, 0, now(), '1.2'
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid), (SELECT max(id) AS id FROM identities) AS i
"""
_MAILBOXES: Final = """
    INSERT INTO mailbox (bucket, eid, tenant) SELECT bucket, eid, tenant FROM euiccs ON CONFLICT DO NOTHING
"""
_ORDERS: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by)
    SELECT bucket, gen_random_uuid(), eid, 1, identity, 1, 'listProfileInfo', 'a test' FROM euiccs
    ON CONFLICT DO NOTHING
"""
_HINT: Final = "SELECT pg_notify('eim_work', bucket::text) FROM generate_series(0, 1023) AS bucket"
_LEFT: Final = "SELECT count(*) FROM operations WHERE state = 'accepted'"
_HELD: Final = "SELECT count(*) FROM leases WHERE holder IS NOT NULL GROUP BY holder ORDER BY 1"
_ONCE: Final = """
    SELECT (SELECT count(*) FROM operations) AS ordered, (SELECT count(*) FROM packages) AS made,
           (SELECT count(DISTINCT operation) FROM packages) AS sealed, (SELECT max(counter) FROM euiccs) AS counter,
           (SELECT count(*) FROM mailbox WHERE sealed IS NOT NULL) AS heads
"""


class Crew:
    """Guards worker processes on one database."""

    def __init__(self, database: Database, data: Path) -> None:
        self._owner = database.owner()
        self._log = data.with_name("workers.log")
        self._environment = environment(
            data,
            EIM_SERVER_TEST_MODE="true",
            EIM_DATABASE_WORKER_DSN=database.dsn(DbRole.WORKER),
            EIM_WORKER_LEASE=str(_LEASE_S),
            EIM_WORKER_BATCH="50",
        )
        self._dsn = database.dsn(DbRole.OWNER)
        self.running: list[subprocess.Popen[bytes]] = []
        self._cards = 0

    async def set_up(self) -> None:
        await app.set_up(load(None, self._environment).config, self._dsn)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "eim", "serve", "--role", "worker"]
        with self._log.open("ab") as log:
            made = subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running.append(made)
        return made

    async def balanced(self, *shares: int) -> float:
        """Wait until they hold so many buckets each; the seconds that took."""
        return await self.until(lambda: self._is_held(list(shares)))

    async def order(self, cards: int) -> None:
        """One thing to do for each of so many more cards."""
        made = eids(EIN, self._cards + cards)[self._cards :]
        self._cards += cards
        await self._owner.execute(_CARDS, [bucket_of(eid) for eid in made], made)
        await self._owner.execute(_MAILBOXES)
        await self._owner.execute(_ORDERS)
        await self._owner.execute(_HINT)

    async def done(self) -> None:
        """Wait until all is sealed, and see that each was once."""
        await self.until(self._is_done)
        found = await self._owner.fetchrow(_ONCE)
        assert found is not None
        assert dict(found) == dict.fromkeys(("ordered", "made", "sealed", "heads"), self._cards) | {"counter": 1}

    async def until(self, happened: Callable[[], Awaitable[bool]]) -> float:
        began = time.monotonic()
        while not await happened():
            assert time.monotonic() - began < 60, self._log.read_text()[-4000:]
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def end(self, process: subprocess.Popen[bytes], way: signal.Signals) -> int:
        process.send_signal(way)
        self.running.remove(process)
        return await asyncio.to_thread(process.wait, 30)

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.wait(10)

    async def _is_held(self, shares: list[int]) -> bool:
        return [row["count"] for row in await self._owner.fetch(_HELD)] == sorted(shares)

    async def _is_done(self) -> bool:
        return not await self._owner.fetchval(_LEFT)


@pytest.fixture
async def crew(database: Database, tmp_path: Path) -> AsyncIterator[Crew]:
    made = Crew(database, tmp_path / "data")
    await made.set_up()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("times", "cards"), [pytest.param(1, 300, id="smoke"), pytest.param(50, 1000, id="full", marks=pytest.mark.slow)]
)
async def test_workers_that_freeze_end_and_die_under_load_do_each_work_once(crew: Crew, times: int, cards: int) -> None:
    first = crew.start()
    await crew.balanced(1024)
    second = crew.start()
    await crew.balanced(512, 512)
    for _ in range(times):
        # Frozen past its lease, it is taken for dead. When it goes on, what it was about to write is refused.
        await crew.order(cards)
        second.send_signal(signal.SIGSTOP)
        await crew.balanced(1024)
        second.send_signal(signal.SIGCONT)
        await crew.balanced(512, 512)
        await crew.done()
        # Told to end, it gives back at once.
        await crew.order(cards)
        assert await crew.end(second, signal.SIGTERM) == 0
        assert await crew.balanced(1024) < _LEASE_S / 2
        await crew.done()
        second = crew.start()
        await crew.balanced(512, 512)
        # Killed, it is missed when its lease is over.
        await crew.order(cards)
        await crew.end(first, signal.SIGKILL)
        assert await crew.balanced(1024) < _LEASE_S + 1.5
        await crew.done()
        first, second = second, crew.start()
        await crew.balanced(512, 512)


def test_a_worker_alone_without_a_database_is_told_which_setting(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "eim", "serve", "--role", "worker"]
    said = subprocess.run(
        command, env=environment(tmp_path / "data"), capture_output=True, text=True, check=False, timeout=30
    )
    assert said.returncode == os.EX_CONFIG
    assert "database.worker_dsn" in said.stderr
