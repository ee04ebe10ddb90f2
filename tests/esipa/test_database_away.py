"""The database goes away and comes back: nothing is answered from thin air meanwhile, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from eim.postgres import Embedded
from eim.store.connect import DbRole, open_pool
from tests.cluster import FAST
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import numbered
from tests.esipa.client import Connection, Reply
from tests.esipa.server import Served, configure, serving_device

POLL: Final = numbered(7, "request")

_END: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name = 'eim device' AND datname = current_database()
"""


def told_to_wait(answer: Reply) -> None:
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-admin-protocol"] == "gsma/rsp/v2.1.0"
    assert answer.body == b"try again later\n"


async def _end_all(superuser: asyncpg.Connection) -> None:
    """End the device role's connections, and wait until they are gone."""
    for _ in range(100):
        if not await superuser.fetch(_END):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("they don't end")


async def back(ipa: Connection) -> Reply:
    """The first answer that is none of "later", within ten seconds."""
    for _ in range(100):
        if (answer := await ipa.post(POLL)).status != 503:
            return answer
        await asyncio.sleep(0.1)
    raise TimeoutError("it is still away")


@pytest.fixture
async def own_cluster(tmp_path: Path) -> AsyncIterator[Embedded]:
    embedded = Embedded(tmp_path / "postgres", FAST)
    await embedded.start()
    yield embedded
    await embedded.remove()


async def test_a_stopped_database_makes_devices_wait_and_all_is_there_when_it_is_back(
    own_cluster: Embedded, tmp_path: Path
) -> None:
    """Reliability 75: polls, results and notifications 503 with Retry-After, readiness false, health true."""
    config = configure(tmp_path / "data", {role: own_cluster.dsn(role) for role in DbRole})
    owner = await open_pool(own_cluster.dsn(DbRole.OWNER), DbRole.OWNER, None, 1)
    async with serving_device(config, owner) as served, served.door.connect() as ipa:
        await served.seed(captured.seed_by_key(captured.out(numbered(7, "response"))))
        assert (await ipa.post(POLL)).body == numbered(7, "response")
        owner.terminate()
        await own_cluster.stop()
        for message in (POLL, numbered(8, "request"), numbered(37, "request")):
            told_to_wait(await ipa.post(message))
        assert (await ipa.ask("GET", "/readyz")).status == 503
        assert (await ipa.ask("GET", "/healthz")).status == 200
        assert (await ipa.post(b"garbage")).status == 400
        await own_cluster.start()
        assert (await back(ipa)).body == numbered(7, "response")
        assert len((await ipa.post(numbered(8, "request"))).body) > 6
        assert (await ipa.ask("GET", "/readyz")).status == 200


async def test_killed_connections_cost_one_answer_at_most(served: Served, database: Database) -> None:
    await served.seed(captured.seed(captured.out(numbered(7, "response"))))
    async with served.door.connect() as ipa:
        assert (await ipa.post(POLL)).status == 200
        superuser = await asyncpg.connect(database.superuser_dsn)
        await superuser.execute(_END)
        await superuser.close()
        assert (await back(ipa)).body == numbered(7, "response")
        result = await ipa.post(numbered(8, "request"))
        assert (result.status, len(result.body) > 6) == (200, True)


async def test_a_database_that_takes_no_connection_is_away_too(served: Served, database: Database) -> None:
    await served.seed(captured.seed(captured.out(numbered(7, "response"))))
    superuser = await asyncpg.connect(database.superuser_dsn)
    try:
        async with served.door.connect() as ipa:
            await superuser.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
            await _end_all(superuser)
            told_to_wait(await ipa.post(POLL))
            told_to_wait(await ipa.post(numbered(8, "request")))
            assert (await ipa.ask("GET", "/readyz")).body == b"the database does not answer\n"
            await superuser.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
            assert (await back(ipa)).body == numbered(7, "response")
    finally:
        await superuser.close()
