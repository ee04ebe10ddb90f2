"""What an order for very many cards costs an operation, against COPY of the same rows into a table of its own.

`--euiccs 1000000` is the size of the bar; the standard one is smaller. "Enable the profile of Carrier B" for every card
of a tag, guards and all: placed by the interface's service, spread by a worker's, until every card was reached and the
order's end was written. The worker says that it is alive as often as one does; that there are as many operations is
counted afterwards. The baseline copies the rows of that very order, in binary and in one statement, into a table with
the same columns, constraints and indexes; nothing is judged and nothing else is written.
"""

import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Final

import uvloop

from bench._estate import database, here, one_connection, postgres, vacuum
from bench._measuring import Contender, Done, Score, Size, compete, conditions, cpu_of, line, size
from bench._records import cost, record
from eim.domain.operation import Kind
from eim.services.leasing import Leasing
from eim.services.lines import OnError
from eim.services.operations import Operations
from eim.services.ordering import Estate, Ordering
from eim.services.spreading import Spreader
from eim.services.tokens import SETUP
from eim.store.connect import DbRole, Pool
from eim.store.leases import TERM
from tests.database import Database

_STANDARD: Final = Size(rounds=3, operations=0, euiccs=100_000)
_PATIENCE_S: Final = 1800.0
_BEAT_S: Final = TERM.total_seconds() / 4  # between a worker's signs of life
# Written by SQL, because it is to be there and not to be made: no EID lies in the bucket of its hash.
_FILL: Final = (
    """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter, introduced_at, speaks, inventory_at, tags)
    SELECT n % 1024, decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 1, 0, now(), '1.2', now(), '{fleet}'
      FROM generate_series(1, $1::int) AS n
    """,
    "INSERT INTO mailbox (bucket, eid, tenant) SELECT bucket, eid, tenant FROM euiccs WHERE $1::int > 0",
    """
    INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at)
    SELECT bucket, eid, 'fleet', tenant, created_at FROM euiccs WHERE $1::int > 0
    """,
    """
    INSERT INTO profiles (bucket, eid, tenant, iccid, state, service_provider)
    SELECT e.bucket, e.eid, e.tenant, decode(p.digits || substr(encode(e.eid, 'hex'), 20, 13), 'hex'), p.state, p.who
      FROM euiccs e
     CROSS JOIN (VALUES ('8999001', 'enabled', 'Carrier A'), ('8999002', 'disabled', 'Carrier B'))
        AS p (digits, state, who)
     WHERE $1::int > 0
    """,
)
_BARE: Final = (
    "DROP TABLE IF EXISTS bare",
    "CREATE TABLE bare (LIKE operations INCLUDING ALL)",
)
_EMPTY: Final = ("TRUNCATE operations CASCADE", "DELETE FROM orders")


class Bench:
    """Places an order, and copies its rows."""

    def __init__(self, made: Database, worker: Pool, cards: int, file: Path) -> None:
        self._made = made
        self._file = file
        self._cards = cards
        self._operations = Operations(made.pool(DbRole.OPERATOR), spread_above=0)
        self._leasing = Leasing(worker, uuid.uuid4())
        self._spreader = Spreader(worker, self._leasing)

    async def empty(self) -> None:
        """As before the first order."""
        for statement in _EMPTY:
            await self._made.owner().execute(statement, timeout=_PATIENCE_S)
        await self._leasing.refresh()

    async def order(self) -> Done:
        carrier, fleet = "Carrier B", Estate("fleet")
        asked = Ordering(
            Kind.ENABLE, fleet, service_provider=carrier, rollback=True, on_error=OnError.SKIP, confirm=self._cards
        )
        await self._operations.place(SETUP, asked, None)
        beat = time.monotonic() + _BEAT_S
        while await self._spreader.round():
            if time.monotonic() > beat:
                await self._leasing.refresh()
                beat += _BEAT_S
        return Done(self._cards)

    async def bare(self) -> None:
        """An empty table like `operations`, and the rows of the last order in a file: one for each card."""
        owner = self._made.owner()
        for statement in _BARE:
            await owner.execute(statement)
        async with owner.acquire() as source:
            tag = await source.copy_from_table("operations", output=self._file, format="binary", timeout=_PATIENCE_S)
        assert tag == f"COPY {self._cards}", f"{tag} operations of {self._cards}"

    async def copy(self) -> Done:
        async with self._made.owner().acquire() as sink:
            tag = await sink.copy_to_table("bare", source=self._file, format="binary", timeout=_PATIENCE_S)
        return Done(int(tag.split()[-1]))


async def measure(made: Database, asked: Size, file: Path) -> dict[str, Score]:
    """The scores of `order` and `copy`, CPU seconds an operation of this process and Postgres."""
    owner = made.owner()
    await made.seed_identity()
    for statement in _FILL:
        await owner.execute(statement, asked.euiccs, timeout=_PATIENCE_S)
    await vacuum(made)
    worker = await one_connection(made, DbRole.WORKER)
    bench = Bench(made, worker, asked.euiccs, file)
    parts = {"server": cpu_of(lambda: [os.getpid()]), "postgres": cpu_of(postgres)}
    contenders = (
        Contender("order", bench.order, here(), bench.empty, parts),
        Contender("copy", bench.copy, here(), bench.bare, parts),
    )
    scores = await compete(contenders, asked.rounds)
    await worker.close()
    return scores


async def main(asked: Size) -> None:
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as folder:
        async with database() as made:
            scores = await measure(made, asked, Path(folder) / "rows")
    ours, copied = scores["order"], scores["copy"]
    about = conditions(f"{asked.euiccs:,} cards by tag", "enable of a carrier", "durable commits")
    line(
        "bulk_order",
        f"{ours.over(copied):.2f}x CPU of COPY",
        f"{ours.micros:.1f} against {copied.micros:.1f} us an operation",
        f"{ours.rate:,.0f} operations/s (baseline {copied.rate:,.0f})",
        about,
    )
    record("bulk_order", figure=ours.micros, baseline=copied.micros, ratio=ours.beside(copied), conditions=about)
    cost("order", ours.micros_of("server"), ours.micros_of("postgres"), about)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
