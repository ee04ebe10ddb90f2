"""What taking in a result costs: many at once, against verifying them and the bare INSERT of their octets in one
transaction (the figure), and against the INSERT of the same rows as `results` keeps them, with its columns and indexes;
and one alone, against one bare ECDSA verification and one empty transaction."""

import asyncio
import gc
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import uvloop

from bench._estate import counted, database, here, one_connection, vacuum
from bench._measuring import Contender, Done, Score, Size, compete, conditions, line, size
from bench._records import record
from eim.app import now
from eim.domain.ids import Eid, bucket_of, format_eid
from eim.domain.operation import Kind
from eim.errors import EimError
from eim.keys.files import Signer, generate
from eim.protocol import ecdsa, trust
from eim.protocol.ecdsa import Check, Curve, public_key_from_spki
from eim.protocol.esipa import Provided, receive
from eim.services.collecting import Collecting
from eim.services.ordering import Ordering, Target
from eim.services.results import ResultRules, Results
from eim.services.tokens import SETUP
from eim.services.whose import Source
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.store.connect import DbRole, Pool, transaction
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

_STANDARD: Final = Size(rounds=7, operations=100, euiccs=400)
_AT_ONCE: Final = 100  # results in one transaction, of ours and of the baseline
_RESULT_OCTETS: Final = 150  # about what an EuiccPackageResult has
_NOBODY: Final = Source("192.0.2.1")
_TABLE: Final = """
    CREATE TABLE bare (bucket smallint, eid bytea, digest bytea, octets bytea, PRIMARY KEY (bucket, eid, digest))
"""
_ROWS: Final = "CREATE TABLE bare_rows (LIKE results INCLUDING ALL)"
_INSERT: Final = """
    INSERT INTO bare (bucket, eid, digest, octets)
    SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::bytea[])
"""
# As store/settled.py does it, of the same values.
_INSERT_ROWS: Final = """
    INSERT INTO bare_rows (bucket, id, eid, tenant, digest, octets, kind, operation, transaction, counter, seq_number,
                           verdict, form, coding)
    SELECT u.bucket, gen_random_uuid(), u.eid, 1, u.digest, u.octets, 'result', u.operation, u.transaction, $7, $8,
           'verified', 'token', 'raw'
      FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::uuid[], $6::bytea[])
        AS u (bucket, eid, digest, octets, operation, transaction)
"""


class Bench:
    """A fleet that switches to and fro; guards the results it has yet to bring."""

    def __init__(self, rig: Rig, pool: Pool) -> None:
        self._rig = rig
        self._results = Results(pool, trust.load_roots([rig.fleet.pki.root_der]), ResultRules(100, False), now)
        self._collecting = Collecting(pool, self._results, 1)
        self._carriers = (CARRIER_B, CARRIER_A)
        self._waiting: Sequence[bytes] = ()

    async def switch(self) -> None:
        """Every card is ordered to the other carrier and executes it; its result is on the way."""
        rig, (to, former) = self._rig, self._carriers
        self._carriers = (former, to)
        targets = tuple(Target(format_eid(card.eid)) for card in rig.cards)
        asked = Ordering(Kind.ENABLE, targets, service_provider=to, confirm=len(targets))
        await rig.operations.place(SETUP, asked, None)
        await rig.work()
        waiting = []
        for card in rig.cards:
            package = await rig.poll(card)
            assert package is not None
            result = rig.execute(card, package)
            for held in card.results:
                card.remove_notification(held.seq)
            waiting.append(rig.wrap(card, result))
        self._waiting = waiting

    async def take_in(self) -> Done:
        """Each result as a device posts it, from octets to the acknowledgement."""
        for octets in self._waiting:
            await self._results.provide(_provided(octets), _NOBODY)
        return Done(len(self._waiting))

    async def take_in_together(self) -> Done:
        """The same for many that come at once."""
        running = asyncio.create_task(self._collecting.run())
        for start in range(0, len(self._waiting), _AT_ONCE):
            answers = []
            for octets in self._waiting[start : start + _AT_ONCE]:
                answer: asyncio.Future[bytes | EimError | None] = asyncio.get_running_loop().create_future()
                self._collecting.bring(_provided(octets), answer.set_result)
                answers.append(answer)
            assert all(isinstance(answer, bytes) for answer in await asyncio.gather(*answers)), "none is taken alone"
        running.cancel()
        return Done(len(self._waiting))


class Bare:
    """The least that taking in results can be: signatures that are verified, and octets that are kept."""

    def __init__(self, owner: Pool, eids: Sequence[Eid]) -> None:
        self._owner = owner
        self._eids = sorted((bucket_of(eid), eid) for eid in eids)
        signer = Signer("bare", generate(Curve.P256), Curve.P256)
        self._messages = [eid + bytes(_RESULT_OCTETS - len(eid)) for _, eid in self._eids]
        key = public_key_from_spki(signer.spki)
        self._checks = [Check(key, message, signer.sign(message)) for message in self._messages]
        self._round = 0

    async def together(self) -> Done:
        return await self._insert(_INSERT)

    async def rows_together(self) -> Done:
        """The rows that we keep of results, and nothing else of what we do."""
        operations, transactions = ([secrets.token_bytes(16) for _ in range(_AT_ONCE)] for _ in range(2))
        ids = [UUID(bytes=each) for each in operations]
        return await self._insert(_INSERT_ROWS, ids, transactions)

    async def _insert(self, statement: str, *more: Sequence[object]) -> Done:
        self._round += 1
        for start in range(0, len(self._eids), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            assert all(await asyncio.to_thread(ecdsa.verify_batch, self._checks[some]))
            octets = [message + bytes([self._round]) for message in self._messages[some]]
            digests = [hashlib.sha256(each).digest() for each in octets]
            columns = [list(column) for column in zip(*self._eids[some], strict=True)]
            beside = [*(each[: len(octets)] for each in more), *((self._round, self._round) if more else ())]
            async with transaction(self._owner) as db:
                await db.execute(statement, *columns, digests, octets, *beside)
        return Done(len(self._eids))

    async def alone(self) -> Done:
        for check in self._checks:
            assert ecdsa.verify(check.key, check.message, check.signature)
            async with transaction(self._owner):
                pass
        return Done(len(self._checks))


def _provided(octets: bytes) -> Provided:
    provided = receive(octets)
    assert isinstance(provided, Provided)
    return provided


async def measure(made: Database, wanted: Size) -> None:
    rig = await rigs.start(made, wanted.euiccs)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    for table in (_TABLE, _ROWS):
        await made.owner().execute(table)
    await vacuum(made)
    gc.collect()
    gc.freeze()  # a device process holds no fleet
    pool, owner = await one_connection(made, DbRole.DEVICE), await one_connection(made, DbRole.OWNER)
    bench, bare = Bench(rig, pool), Bare(owner, [card.eid for card in rig.cards])
    contenders = (
        Contender("together", bench.take_in_together, here(), bench.switch),
        Contender("bare together", bare.together, here()),
        Contender("rows together", bare.rows_together, here()),
        Contender("alone", bench.take_in, here(), bench.switch),
        Contender("bare alone", bare.alone, here()),
    )
    scores = await compete(contenders, wanted.rounds)
    about = conditions("enable", f"{_AT_ONCE} at once", "1 connection", "durable commits", "Postgres counted")
    together, bare_together = scores["together"], scores["bare together"]
    ratio = together.beside(bare_together)
    record("result", together.micros, bare_together.micros, ratio, about)
    line(
        "result",
        f"{ratio:.2f} of verification and a bare INSERT in ours",
        f"{together.beside(scores['rows together']):.2f} of verification and the rows of `results`, "
        f"{scores['rows together'].micros:,.0f} us",
        *_said(together, bare_together, await _statements(bench, pool, at_once=True)),
        about,
    )
    alone, bare_alone = scores["alone"], scores["bare alone"]
    line(
        "result_alone",
        f"{alone.over(bare_alone):.2f}x CPU of one verification and one empty transaction",
        *_said(alone, bare_alone, await _statements(bench, pool, at_once=False)),
        conditions("enable", "one after the other on 1 connection", "durable commits", "Postgres counted"),
    )
    await pool.close()
    await owner.close()


def _said(ours: Score, baseline: Score, statements: float) -> tuple[str, ...]:
    return (
        f"{ours.micros:,.0f} against {baseline.micros:,.0f} us",
        f"{ours.rate:,.0f} results/s (baseline {baseline.rate:,.0f})",
        f"{statements:.1f} statements a result",
    )


async def _statements(bench: Bench, pool: Pool, *, at_once: bool) -> float:
    await bench.switch()
    async with counted(pool) as seen:
        done = await (bench.take_in_together() if at_once else bench.take_in())
    return len(seen) / done.operations


async def main(wanted: Size) -> None:
    async with database() as made:
        await measure(made, wanted)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
