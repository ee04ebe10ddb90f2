"""Whose result is it, in a large fleet: one indexed look-up, and the same acknowledgement every time."""

import time
from typing import Final

from eim.domain.ids import bucket_of, transaction_of
from eim.store import associations, mailbox, packages, results
from tests.database import Database
from tests.esipa import captured
from tests.esipa.captured import numbered
from tests.esipa.server import Served

FLEET: Final = 20_000
SEEDED: Final = """
    WITH fleet AS (
        SELECT n, decode('8904' || lpad(n::text, 28, '0'), 'hex') AS eid FROM generate_series(1, $1) AS n
    ), placed AS (
        SELECT n, eid, (get_byte(sha256(eid), 0) << 2 | get_byte(sha256(eid), 1) >> 6)::smallint AS bucket FROM fleet
    ), made AS (
        INSERT INTO euiccs (bucket, eid, tenant, identity, counter, packages) SELECT bucket, eid, 1, 1, 1, 1 FROM placed
    ), heads AS (
        INSERT INTO mailbox (bucket, eid, tenant, number, operation, counter, sealed, handed_at)
        SELECT bucket, eid, 1, 1, gen_random_uuid(), 1, '\\xBF51', now() FROM placed
    ), stored AS (
        INSERT INTO results (bucket, id, eid, tenant, digest, octets, kind, verdict)
        SELECT bucket, gen_random_uuid(), eid, 1, sha256(eid), '\\xBF51', 'result', 'verified' FROM placed
    )
    INSERT INTO packages (bucket, eid, number, operation, identity, counter, transaction, speaks, sealed, gate,
                          not_before, state)
    SELECT bucket, eid, 1, gen_random_uuid(), 1, 1, int2send(bucket) || substr(sha256(eid), 3, 14), '1.2', '\\xBF51', 1,
           now(), 'head'
      FROM placed
"""
FOREIGN: Final = """
    INSERT INTO foreign_transactions (transaction, bucket, eid)
    SELECT sha256(int4send(n)), 1, '\\x00' FROM generate_series(1, $1) AS n
"""


async def test_a_result_without_eid_is_found_by_index_among_twenty_thousand_packages(served: Served) -> None:
    """Reliability 69."""
    await served.owner.execute(SEEDED, FLEET, timeout=120)
    await served.owner.execute(FOREIGN, FLEET)
    await served.owner.execute("ANALYZE", timeout=60)
    await served.seed(captured.seed(captured.out(numbered(7, "response"))))
    async with served.door.connect() as ipa:
        started = time.perf_counter()
        answers = [await ipa.post(numbered(8, "request")) for _ in range(10)]
        took = time.perf_counter() - started
    assert len({a.body for a in answers}) == 1
    assert len(answers[0].body) > 6
    assert took < 2.0
    assert len(await served.rows("SELECT * FROM operations WHERE state = 'done'")) == 1


LOOK_UPS: Final = {
    "by our transaction": (packages._OWNER, "bt"),
    "by another's transaction": (packages._FOREIGN, "t"),
    "the package of a result": (packages._BY_TRANSACTION, "bet1"),
    "the package of a counter": (packages._BY_COUNTER, "be1"),
    "the data request": (packages._DATA_REQUEST, "bet"),
    "the head": (packages._HEAD, "be"),
    "the card": (associations._LOCK, "be"),
    "the same result before": (results._FIND, "bet"),
    "what a poll looks at": (mailbox._LOOK, "be"),
}


async def test_no_statement_of_a_visit_reads_a_whole_table_of_devices(database: Database) -> None:
    """Reliability 69: EXPLAIN names an index for each table of devices, and no sequential scan of one."""
    await database.seed_identity()
    await database.owner().execute(SEEDED, FLEET, timeout=120)
    await database.owner().execute(FOREIGN, FLEET)
    await database.owner().execute("ANALYZE", timeout=60)
    eid = captured.EID
    given = {"b": bucket_of(eid), "e": eid, "t": transaction_of(bucket_of(eid), bytes(14)), "1": 1}
    for name, (query, arguments) in LOOK_UPS.items():
        rows = await database.owner().fetch(f"EXPLAIN {query}", *(given[letter] for letter in arguments))
        plan = "\n".join(row[0] for row in rows)
        scanned = {line.split("Seq Scan on ")[1].split()[0] for line in plan.splitlines() if "Seq Scan on " in line}
        assert scanned <= {"gates", "identities", "requests", "operations"}, (name, plan)  # small, or empty here
        assert "Index" in plan, (name, plan)
