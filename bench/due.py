"""What the question for due work costs among very many eUICCs of which ten are due, by what else is accepted."""

from datetime import timedelta
from typing import Final

import uvloop

from bench._estate import database, here, one_connection, vacuum
from bench._measuring import Contender, Done, Size, compete, conditions, line, size
from eim.domain.ids import Bucket, Eid
from eim.services.lanes import Lane, LaneRules
from eim.store import due
from eim.store.connect import DbRole, Pool, acquire
from tests.database import Database

_STANDARD: Final = Size(rounds=3, operations=20, euiccs=1_000_000)
_PATIENCE_S: Final = 900.0  # for a million rows
_EVERY: Final = [Bucket(bucket) for bucket in range(1024)]
# Written by SQL, because it is to be there and not to be made: no EID lies in the bucket of its hash.
_FILL: Final = (
    """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter, introduced_at, speaks)
    SELECT n % 1024, decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 1, 0, now(), '1.2'
      FROM generate_series(1, $1::int) AS n
    """,
    "INSERT INTO mailbox (bucket, eid, tenant) SELECT bucket, eid, tenant FROM euiccs WHERE $1::int > 0",
)
_ORDER: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, ordered_by, not_before)
    SELECT bucket, gen_random_uuid(), eid, tenant, identity, $1, 'listProfileInfo', 'bench', now() + $2::interval
      FROM euiccs ORDER BY eid DESC LIMIT $3
"""
_IN_FRONT: Final = """
    INSERT INTO packages (bucket, eid, number, operation, identity, speaks, sealed, gate, not_before, state)
    SELECT bucket, eid, n, gen_random_uuid(), 1, '1.2', '\\x00', 1, now(), 'waiting'
      FROM (SELECT bucket, eid FROM euiccs ORDER BY eid LIMIT $1) AS e, generate_series(1, 3) AS n
"""


class Looks:
    """Asks as a worker that holds every bucket does."""

    def __init__(self, pool: Pool, looks: int, batch: int = 1000) -> None:
        self._pool = pool
        self._looks = looks
        self._lane = Lane(LaneRules("P-256", slow=False, batch=batch, ahead=3))
        self.found: set[Eid] = set()

    async def work(self) -> Done:
        async with acquire(self._pool) as db:
            for _ in range(self._looks):
                self.found |= {each.eid for each in await self._lane.next(db, _EVERY)}
        return Done(self._looks)

    async def take(self) -> Done:
        """The next batches of what is due, as a worker gets them; an operation is an eUICC taken."""
        taken = 0
        async with acquire(self._pool) as db:
            for _ in range(self._looks):
                taken += len(await self._lane.next(db, _EVERY))
        return Done(taken)

    async def ping(self) -> Done:
        async with acquire(self._pool) as db:
            for _ in range(self._looks):
                await due.now(db)
        return Done(self._looks)


async def _case(made: Database, name: str, meaning: str, asked: Size) -> None:
    await vacuum(made)
    pool = await one_connection(made, DbRole.WORKER)
    looks = Looks(pool, asked.operations)
    contenders = (Contender("look", looks.work, here()), Contender("ping", looks.ping, here()))
    scores = await compete(contenders, asked.rounds)
    await pool.close()
    look, ping = scores["look"], scores["ping"]
    figures = (
        f"{look.over(ping):.0f}x CPU of SELECT now()",
        f"{look.micros / 1e3:.2f} ms of CPU",
        f"found {len(looks.found)}",
    )
    line(name, *figures, conditions(f"{asked.euiccs} eUICCs", meaning))


async def taking(made: Database, asked: Size) -> float:
    """How much less CPU time an eUICC's turn costs in batches of 1,000 than one by one, where all are due."""
    await vacuum(made)
    pool = await one_connection(made, DbRole.WORKER)
    many, one = Looks(pool, asked.operations), Looks(pool, asked.operations, batch=1)
    contenders = (Contender("many", many.take, here()), Contender("one", one.take, here()))
    scores = await compete(contenders, asked.rounds)
    await pool.close()
    batch, alone = scores["many"], scores["one"]
    line(
        "due_taken",
        f"{alone.over(batch):.0f}x CPU of batches of 1,000 when taken one by one",
        f"{batch.micros:,.1f} against {alone.micros:,.0f} us each",
        conditions(f"{asked.euiccs} eUICCs", "one operation of each due"),
    )
    return batch.beside(alone)


async def main(asked: Size) -> None:
    async with database() as made:
        owner = made.owner()
        await made.seed_identity()
        for statement in _FILL:
            await owner.execute(statement, asked.euiccs, timeout=_PATIENCE_S)
        await _case(made, "due_nothing", "nothing ordered", asked)
        few = min(10, asked.euiccs)
        await owner.execute(_ORDER, 1, timedelta(0), few, timeout=_PATIENCE_S)
        await _case(made, "due_few", "ten due", asked)
        await owner.execute(_ORDER, 2, timedelta(days=1), asked.euiccs, timeout=_PATIENCE_S)
        await _case(made, "due_later", "ten due, one operation of each eUICC due tomorrow", asked)
        await owner.execute(
            "UPDATE operations SET not_before = now() - interval '1 hour' WHERE ordinal = 2", timeout=_PATIENCE_S
        )
        await taking(made, asked)
        await owner.execute(_IN_FRONT, asked.euiccs - few, timeout=_PATIENCE_S)
        await _case(made, "due_no_room", "ten due, all others have three packages in front of what waits", asked)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
