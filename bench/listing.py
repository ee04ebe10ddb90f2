"""What a page of the eUICCs costs among many: each filter's first page, and a page far behind.

`./dev bench listing --euiccs 1000000` for the figures of docs/performance.md. They are times as a caller of the service
sees them on a quiet machine; what is held beside is the page without any filter.
"""

import statistics
import time
from datetime import timedelta
from typing import Final

import uvloop

from bench._estate import database, vacuum
from bench._measuring import Size, conditions, line, size
from eim.app import now
from eim.domain.ids import DEFAULT_TENANT, Eid, parse_iccid
from eim.services.estate import EstateReader
from eim.services.tokens import SETUP
from eim.store.connect import DbRole, listing
from eim.store.euicc_pages import Filter, page
from eim.web.pages import FIRST
from tests.database import Database

_STANDARD: Final = Size(rounds=9, operations=1000, euiccs=1_000_000)
_PAGE: Final = 100
_CHUNK: Final = 50_000
# Cards come over two years. Tags and groups of some are scattered, of others all at the end or at the start: a page
# that is found by walking along the whole list would be slow for one of these.
_EUICCS: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, created_at, label, tags, group_name, introduced_at, counter,
                        speaks, unverifiable, last_seen_at, seen_on, plmn)
    SELECT get_byte(h, 0) << 2 | get_byte(h, 1) >> 6, eid, 1, 1, at, 'meter-' || lpad(n::text, 7, '0'),
           ARRAY['all', CASE WHEN n % 3 = 0 THEN 'third' ELSE 'others' END]
           || CASE WHEN n > $3 * 0.99 THEN '{newest}'::text[] WHEN n <= $3 * 0.01 THEN '{oldest}' ELSE '{}' END
           || CASE WHEN n % 100000 = 7 THEN '{rare}'::text[] ELSE '{}' END,
           'site-' || n * 20 / $3, CASE WHEN n % 50 > 0 THEN at END, 0,
           CASE WHEN n % 20 = 0 THEN '1.0.1' ELSE '1.2' END,
           n % 10000 = 3, now() - (n % 1000) * interval '1 hour',
           ((now() - (n % 1000) * interval '1 hour') AT TIME ZONE 'UTC')::date,
           CASE WHEN n % 4 = 0 THEN '\\x62f210' ELSE '\\x62f220' END::bytea
      FROM (SELECT n, eid, sha256(eid) AS h, now() - interval '2 years' + n * (interval '2 years' / $3) AS at
              FROM (SELECT n, decode(left(d, 30) || lpad((98 - (d::numeric % 97))::text, 2, '0'), 'hex') AS eid
                      FROM (SELECT n, '89049032' || lpad((n * 7919 % 99999989)::text, 22, '0') || '00' AS d
                              FROM generate_series($1::bigint, $2::bigint) n) digits) eids) rows
"""
_HEADS: Final = "INSERT INTO mailbox (bucket, eid, tenant) SELECT bucket, eid, tenant FROM euiccs"
_TAGS: Final = """
    INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at)
    SELECT bucket, eid, unnest(tags), tenant, created_at FROM euiccs
"""
_PROFILES: Final = """
    INSERT INTO profiles (bucket, eid, tenant, iccid, state, service_provider)
    SELECT bucket, eid, tenant, decode('8999001' || substr(encode(eid, 'hex'), 20, 13), 'hex'), 'enabled',
           CASE WHEN right(label, 5) = '00042' THEN 'Carrier R' WHEN right(label, 1) = '1' THEN 'Carrier B'
                ELSE 'Carrier A' END
      FROM euiccs
"""
_BUSY: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, state, ordered_by)
    SELECT bucket, gen_random_uuid(), eid, tenant, identity, 1, 'listProfileInfo',
           CASE WHEN right(label, 3) = '777' THEN 'accepted' ELSE 'done' END, 'bench'
      FROM euiccs
"""


_MIDDLE: Final = "SELECT eid FROM euiccs ORDER BY created_at OFFSET $1 LIMIT 1"


async def fill(made: Database, count: int) -> None:
    """`count` eUICCs with profiles, tags, groups and operations, past all services."""
    await made.seed_identity()
    for start in range(1, count + 1, _CHUNK):
        await made.owner().execute(_EUICCS, start, min(start + _CHUNK - 1, count), count, timeout=600)
    for statement in (_HEADS, _TAGS, _PROFILES, _BUSY):
        await made.owner().execute(statement, timeout=1200)


def filters(one: Eid) -> dict[str, Filter]:
    """Everything that an operator may filter by, common and rare."""
    return {
        "nothing": Filter(),
        "tag_all": Filter(tag="all"),
        "tag_third": Filter(tag="third"),
        "tag_newest": Filter(tag="newest"),
        "tag_oldest": Filter(tag="oldest"),
        "tag_rare": Filter(tag="rare"),
        "tag_none": Filter(tag="nobody"),
        "group_last": Filter(group="site-19"),
        "label_prefix": Filter(label="meter-00012"),
        "label_last": Filter(label="meter-0999"),
        "label_all": Filter(label="meter"),
        "introduced": Filter(introduced=True),
        "not_introduced": Filter(introduced=False),
        "carrier_common": Filter(service_provider="Carrier A"),
        "carrier_rare": Filter(service_provider="Carrier R"),
        "identity": Filter(identity="eim.example.com"),
        "speaks_old": Filter(speaks="1.0.1"),
        "speaks_none": Filter(speaks="1.3"),
        "unverifiable": Filter(unverifiable=True),
        "seen_recently": Filter(seen_after=now() - timedelta(hours=2)),
        "seen_long_ago": Filter(seen_before=now() - timedelta(days=41)),
        "seen_never": Filter(seen_before=now() - timedelta(days=400)),
        "created_lately": Filter(created_after=now() - timedelta(days=1)),
        "plmn_none": Filter(plmn=bytes.fromhex("62f230")),
        "iccid": Filter(iccid=parse_iccid("8999001" + one.hex()[19:32])),
        "busy": Filter(busy=True),
        "tag_and_carrier": Filter(tag="newest", service_provider="Carrier B"),
    }


async def main(wanted: Size) -> None:
    async with database() as made:
        started = time.perf_counter()
        await fill(made, wanted.euiccs)
        await vacuum(made)
        filled = time.perf_counter() - started
        about = conditions(f"{wanted.euiccs:,} eUICCs", f"page of {_PAGE}", "operator role, row-level security")
        line("listing_filled", f"in {filled:.0f} s", about)
        one = await made.owner().fetchval(_MIDDLE, wanted.euiccs // 2)
        worst = 0.0
        for name, wish in filters(Eid(one)).items():
            times, rows = await first_pages(made, wish, wanted.rounds)
            worst = max(worst, statistics.median(times))
            line(f"listing_{name}", f"{statistics.median(times):.1f} ms", f"worst {max(times):.1f} ms", f"{rows} rows")
        first, far = await pages(made, wanted)
        compared = (f"page {wanted.operations:,}: {far:.2f} ms", f"page 1: {first:.2f} ms")
        line("listing_far", f"{far / first:.2f}x of page 1", *compared)
        line("listing_worst", f"{worst:.1f} ms for the first page of the slowest filter", about)


async def first_pages(made: Database, wish: Filter, rounds: int) -> tuple[list[float], int]:
    """Milliseconds of the first page, round by round, and how many rows it had."""
    estate = EstateReader(made.pool(DbRole.OPERATOR))
    times, found = [], 0
    for _ in range(rounds):
        began = time.perf_counter()
        found = len(await estate.page(SETUP, wish, (FIRST, Eid(bytes(16))), _PAGE + 1))
        times.append((time.perf_counter() - began) * 1e3)
    return times, found


async def pages(made: Database, wanted: Size) -> tuple[float, float]:
    """Milliseconds of page 1 and of the last of `operations` pages, medians."""
    place, times = (FIRST, Eid(bytes(16))), []
    async with listing(made.pool(DbRole.OPERATOR), DEFAULT_TENANT) as db:
        for _ in range(wanted.operations):
            began = time.perf_counter()
            rows = await page(db, DEFAULT_TENANT, Filter(), place, _PAGE)
            times.append((time.perf_counter() - began) * 1e3)
            if not rows:
                break
            place = (rows[-1].created_at, rows[-1].eid)
    span = max(1, len(times) // 20)
    return statistics.median(times[:span]), statistics.median(times[-span:])


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
