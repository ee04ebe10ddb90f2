"""Pages of eUICCs: every filter finds what it says, and does it by an index behind row-level security."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from eim.domain.ids import DEFAULT_TENANT, Eid
from eim.store import euicc_pages
from eim.store.connect import DbRole, listing
from eim.store.euicc_pages import Filter
from tests.database import Database

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)
_FILL = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter, created_at, label, tags, group_name, speaks,
                        unverifiable, plmn, last_seen_at, seen_on)
    SELECT n % 1024, decode(lpad(n::text, 32, '0'), 'hex'), 1, 1, 0, $2::timestamptz + n * interval '1 second',
           'label-' || lpad(n::text, 6, '0'), CASE WHEN n % 500 = 0 THEN '{rare,all}' ELSE '{all}' END::text[],
           'group-' || n % 40, CASE WHEN n % 300 = 0 THEN '1.0.1' ELSE '1.2' END, n % 700 = 0,
           CASE WHEN n % 900 = 0 THEN '\\x62f230'::bytea END,
           CASE WHEN n % 500 > 0 THEN $2::timestamptz + n % 100 * interval '1 day' END,
           CASE WHEN n % 1000 > 0 THEN ($2::timestamptz + n % 100 * interval '1 day')::date - n % 2 END
      FROM generate_series(1, $1::integer) n
"""
_TAGS = """
    INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at)
    SELECT bucket, eid, unnest(tags), tenant, created_at FROM euiccs
"""


@pytest.fixture
async def filled(database: Database) -> Database:
    await database.seed_identity()
    await database.owner().execute(_FILL, 20_000, START)
    await database.owner().execute(_TAGS)
    await database.owner().execute("ANALYZE")
    return database


async def every(database: Database, wanted: Filter, limit: int) -> list[Eid]:
    place, found = (FIRST, Eid(bytes(16))), list[Eid]()
    async with listing(database.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
        while rows := await euicc_pages.page(db, DEFAULT_TENANT, wanted, place, limit):
            found += [row.eid for row in rows]
            place = (rows[-1].created_at, rows[-1].eid)
    return found


@pytest.mark.parametrize(
    ("wanted", "many"),
    [
        (Filter(), 20_000),
        (Filter(tag="all"), 20_000),
        (Filter(tag="rare"), 40),
        (Filter(tag="nobody"), 0),
        (Filter(label="label-0199"), 100),
        (Filter(label="label"), 20_000),
        (Filter(group="group-7"), 500),
        (Filter(speaks="1.0.1"), 66),
        (Filter(unverifiable=True), 28),
        (Filter(plmn=b"\x62\xf2\x30"), 22),
        (Filter(created_after=START + timedelta(seconds=19_991)), 10),
        (Filter(tag="rare", group="group-20", label="label-0"), 20),
        (Filter(busy=True), 0),
        (Filter(seen_before=START), 40),
        (Filter(seen_before=START + timedelta(days=2), label="label-01"), 200),
        (Filter(seen_before=START + timedelta(days=200)), 20_000),
        (Filter(service_provider="Carrier A"), 0),
    ],
)
async def test_pages_hold_each_that_passes_once_and_in_order(filled: Database, wanted: Filter, many: int) -> None:
    found = await every(filled, wanted, 997)
    assert len(found) == many
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(), "euiccs_listed"),
        (Filter(tag="rare"), "euicc_tags_listed"),
        (Filter(tag="all"), "euicc_tags_listed"),
        (Filter(label="label-0199"), "euiccs_labelled"),
        (Filter(group="group-7"), "euiccs_by_group"),
        (Filter(speaks="1.3"), "euiccs_by_speaks"),
        (Filter(unverifiable=True), "euiccs_unverifiable"),
        (Filter(plmn=b"\x62\xf2\x30"), "euiccs_by_plmn"),
        (Filter(seen_before=START), "euiccs_silent"),
    ],
)
async def test_an_index_serves_the_filter_behind_row_level_security(
    filled: Database, wanted: Filter, index: str
) -> None:
    await _find_out_what_is_used(filled, wanted)
    used = await filled.owner().fetch("SELECT indexrelname FROM pg_stat_user_indexes WHERE idx_scan > 0")
    assert index in {row["indexrelname"] for row in used}
    scans = await filled.owner().fetchval("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'euiccs'")
    assert scans == 0


async def _find_out_what_is_used(database: Database, wanted: Filter) -> None:
    await database.owner().execute("SELECT pg_stat_force_next_flush()")  # what filled it is counted before
    superuser = await asyncpg.connect(database.superuser_dsn)
    try:
        await superuser.execute("SELECT pg_stat_reset()")
    finally:
        await superuser.close()
    async with listing(database.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
        await euicc_pages.page(db, DEFAULT_TENANT, wanted, (FIRST, Eid(bytes(16))), 100)
        await db.execute("SELECT pg_stat_force_next_flush()")
