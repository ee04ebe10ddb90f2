"""What benchmarks measure against: a Postgres as `eim serve` runs it, and eUICCs that were introduced long ago."""

import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn
from uuid import uuid4

import asyncpg
import structlog

from bench._measuring import Cpu, cpu_of, name_of, tree
from eim.domain.ids import Eid, format_eid
from eim.domain.operation import Kind
from eim.keys.files import KeyStore
from eim.postgres import Embedded
from eim.protocol.published_keys import Mode
from eim.services.asking import Asking
from eim.services.leasing import Leasing
from eim.services.onboarding import Candidate, Onboarding, Rules
from eim.services.operations import Operations
from eim.services.ordering import Estate, Ordering
from eim.services.sealing import Sealer
from eim.services.tokens import SETUP
from eim.services.worker import Worker, WorkerRules
from eim.sim.pki import EIN, eids
from eim.store import Db
from eim.store.connect import DEFAULT_SCHEMA, DbRole, Pool, open_pool
from eim.store.migrate import migrate
from tests.cluster import Cluster
from tests.database import Database, fresh

_AT_ONCE: Final = 5_000
_INTRODUCED: Final = "UPDATE euiccs SET introduced_at = now(), speaks = '1.2'"
_PROFILES: Final = """
    INSERT INTO profiles (bucket, eid, tenant, iccid, state, service_provider)
    SELECT bucket, eid, tenant, decode('8999001' || substr(encode(eid, 'hex'), 20, 13), 'hex'), 'enabled', 'Carrier A'
      FROM euiccs
"""
_ENDED: Final = "UPDATE operations SET state = 'done', ended_at = now()"


@asynccontextmanager
async def database() -> AsyncIterator[Database]:
    """A migrated database on a Postgres of its own, with the settings of `eim serve`: durable commits."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    folder = Path(tempfile.mkdtemp(prefix="eim-bench-"))
    embedded = Embedded(folder / "postgres")
    try:
        await embedded.start()
        await migrate(embedded.dsn(DbRole.OWNER), DEFAULT_SCHEMA)
        logins = {role.value: embedded.dsn(role) for role in DbRole}
        async with fresh(Cluster(embedded.superuser_dsn(), logins)) as made:
            yield made
    finally:
        await embedded.remove()
        shutil.rmtree(folder, ignore_errors=True)


async def settle_in(database: Database, count: int) -> Sequence[Eid]:
    """`count` eUICCs of the identity whose key is "test", introduced and with nothing to do."""
    await database.seed_identity()
    made = eids(EIN, count)
    onboarding = Onboarding(database.pool(DbRole.OPERATOR), _no_certificates)
    for start in range(0, count, _AT_ONCE):
        some = [Candidate(eid=format_eid(eid)) for eid in made[start : start + _AT_ONCE]]
        await onboarding.add_many(SETUP, some, Rules(), None)
    for statement in (_INTRODUCED, _PROFILES, _ENDED, "ANALYZE"):
        await database.owner().execute(statement)
    return made


async def vacuum(database: Database) -> None:
    """Clean up before measuring, so that autovacuum does not do it meanwhile."""
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def here() -> Cpu:
    """The CPU time of this process and its Postgres."""
    return cpu_of(lambda: [os.getpid(), *postgres()])


def postgres() -> list[int]:
    """The processes of the Postgres that this process started."""
    return [pid for pid in tree(os.getpid()) if name_of(pid) == "postgres"]


@asynccontextmanager
async def counted(pool: Pool) -> AsyncIterator[list[str]]:
    """The statements that go over `pool`, which has one connection, meanwhile; BEGIN and COMMIT included."""
    seen: list[str] = []
    async with pool.acquire() as proxy:
        connection: Db = proxy._con  # type: ignore[attr-defined]  # noqa: SLF001 - a logger on the proxy ends with it
    with connection.query_logger(lambda record: seen.append(" ".join(record.query.split()))):
        yield seen


async def one_connection(database: Database, role: DbRole) -> Pool:
    """A pool like the product's, of one connection."""
    return await open_pool(database.dsn(role), role, database.schema, 1)


async def order_and_seal(database: Database, folder: Path, count: int, batch: int) -> None:
    """A signed listProfileInfo for each of the `count` eUICCs, in its mailbox. `folder` takes the signing key."""
    asked = Ordering(Kind.LIST_PROFILES, Estate(), confirm=count)
    await Operations(database.pool(DbRole.OPERATOR)).place(SETUP, asked, None)
    keys = KeyStore(folder, Mode.TEST)
    keys.create_identity_key("test")
    pool = database.pool(DbRole.WORKER)
    leasing = Leasing(pool, uuid4())
    await leasing.refresh()
    sealer, rules = Sealer(pool, keys, 3), WorkerRules(batch, 3, 1.0)
    worker = Worker(pool, leasing, sealer, Asking(pool), rules)
    while await worker.round():
        pass


def _no_certificates(euicc: bytes, eum: bytes) -> NoReturn:
    raise ValueError(f"{len(euicc) + len(eum)} octets of certificates that no benchmark brings")
