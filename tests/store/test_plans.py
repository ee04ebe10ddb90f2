"""What runs for every operation is found by keys, however little there was when the tables were last counted."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from eim.store import links, settled, work
from eim.store.connect import DbRole, transaction
from tests.database import Database

# Of all that is open, waits or is linked: read without a key, they hold what a whole campaign has open.
_OF_ALL: Final = {
    *("operations_open", "operations_due", "operations_sealable", "operations_held"),
    *("packages_queued", "packages_by_age", "audit_links_bucket_audit_key", "audit_links_pkey"),
}
_OUT: Final = """
    INSERT INTO packages (bucket, eid, number, operation, identity, speaks, sealed, gate, not_before, state)
    SELECT n % 1024, decode(lpad(n::text, 32, '0'), 'hex'), 1, gen_random_uuid(), 1, '1.3', '\\xBF51', 1, now(), 'head'
      FROM generate_series(1, $1::integer) AS n
"""
_HOT: Final = "SELECT pg_stat_get_xact_tuples_hot_updated('packages'::regclass)"
_STATEMENTS: Final = {
    "what results answer": (DbRole.DEVICE, settled._FIND),
    "the end of operations": (DbRole.DEVICE, settled._END),
    "which cards have more to do": (DbRole.DEVICE, settled._HINT),
    "which cards are in doubt": (DbRole.DEVICE, settled._DOUBTFUL),
    "what is sealed": (DbRole.WORKER, work._SEAL),
    "what is not linked": (DbRole.WORKER, links._UNLINKED),
}


async def _planned(database: Database, role: DbRole, sql: str) -> list[Mapping[str, Any]]:
    """The nodes of the plan for whatever values, as `role` makes it."""
    nothing = ", ".join(["NULL"] * max(map(int, re.findall(r"\$(\d+)", sql))))
    async with transaction(database.pool(role)) as db:
        await db.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await db.execute(f"PREPARE looked_at AS {sql}")
        plan = await db.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE looked_at ({nothing})")
        await db.execute("DEALLOCATE looked_at")
    return list(_nodes(json.loads(plan)[0]["Plan"]))


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


@pytest.mark.parametrize("name", _STATEMENTS)
async def test_no_statement_reads_all_that_is_open_for_one(database: Database, name: str) -> None:
    role, sql = _STATEMENTS[name]
    async with transaction(database.owner()) as db:
        await db.execute("ANALYZE")  # of tables without rows
    nodes = await _planned(database, role, sql)
    assert all(node["Node Type"] != "Seq Scan" for node in nodes)
    scans = [node for node in nodes if node.get("Index Name") in _OF_ALL]
    assert [node["Index Name"] for node in scans if not _has_key(node)] == []


@pytest.mark.parametrize("name", ["the end of operations", "which cards have more to do"])
async def test_whether_a_card_has_more_to_do_is_read_in_the_index_that_has_the_cards_in_front(
    database: Database, name: str
) -> None:
    nodes = await _planned(database, *_STATEMENTS[name])
    read = {node.get("Index Name") for node in nodes}
    assert "operations_due" in read
    assert "operations_sealable" not in read


def _has_key(node: Mapping[str, Any]) -> bool:
    """Whether a step in the index is to one card, operation or record."""
    condition = node.get("Index Cond", "")
    return any(f"{column} =" in condition for column in ("eid", "id", "operation", "audit", "seq"))


async def test_the_packages_that_are_answered_are_found_by_their_keys(database: Database) -> None:
    """By the statements of the function that a batch of results calls."""
    body = await database.owner().fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'resolve_heads'")
    ends = next(each for each in body.split(";") if "'ended'" in each).strip()
    for number, name in enumerate(("of_buckets", "of_eids", "of_numbers"), 1):
        ends = ends.replace(name, f"${number}::{'bytea' if name == 'of_eids' else 'bigint'}[]")
    async with transaction(database.owner()) as db:
        await db.execute("ANALYZE packages")
        await db.execute(_OUT, 5000)
    nodes = await _planned(database, DbRole.WORKER, ends)
    (scan,) = [node for node in nodes if node.get("Index Name")]
    assert "eid =" in scan.get("Index Cond", ""), scan["Index Name"]


async def test_the_end_of_a_head_is_no_entry_in_any_index(database: Database) -> None:
    async with transaction(database.owner()) as db:
        await db.execute(_OUT, 5)
        await db.execute("UPDATE packages SET queued = false")
        before = await db.fetchval(_HOT)
        await db.execute("UPDATE packages SET state = 'ended'")
        assert await db.fetchval(_HOT) - before == 5


async def test_the_records_to_be_linked_are_found_by_their_time(database: Database) -> None:
    nodes = await _planned(database, DbRole.WORKER, links._UNLINKED)
    (scan,) = [node for node in nodes if node.get("Index Name") in ("audit_pkey", "audit_of_subject", "audit_listed")]
    assert (scan["Index Name"], "at >=" in scan["Index Cond"]) == ("audit_listed", True)


async def test_a_result_finds_its_operation_and_its_card_by_their_whole_keys(database: Database) -> None:
    async with transaction(database.owner()) as db:
        await db.execute(_OUT, 400)  # fewer than there are buckets: the bucket alone looks as good as a key
        await db.execute("ANALYZE")
    role, sql = _STATEMENTS["what results answer"]
    nodes = [node for node in await _planned(database, role, sql) if "Index Name" in node]
    conditions = {node["Relation Name"]: node.get("Index Cond", "") for node in nodes}
    assert "eid =" in conditions["euiccs"], nodes
    assert "(id =" in conditions["operations"], nodes
