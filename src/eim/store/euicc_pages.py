"""Which eUICCs an operator is shown, page by page: one statement for each way to find them.

The filters are the same in all. What differs is where the rows are looked for: a planner that finds a filter inside an
OR (absent, or ...) walks along the whole list for it, so those that another table answers have a statement that begins
there. Behind row-level security an index serves leakproof operators only: = and ~>=~ are, LIKE and @> are not.
"""

from datetime import datetime
from typing import Final

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Eid, Iccid, TenantId
from eim.store import Db

_FEW: Final = 20_000  # rows that are sorted for a page, rather than looked for along the list

_PAGE: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM euiccs e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND ($4::text IS NULL OR EXISTS (
               SELECT 1 FROM euicc_tags t WHERE t.bucket = e.bucket AND t.eid = e.eid AND t.tag = $4))
       AND ($5::text IS NULL OR e.label ~>=~ $5 AND e.label ~<~ ($5 || chr(1114111)))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($7::text IS NULL OR EXISTS (
               SELECT 1 FROM profiles p
                WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled'
                  AND p.service_provider = $7))
       AND ($8::text IS NULL OR e.identity = ANY (SELECT i.id FROM identities i WHERE i.tenant = $1 AND i.eim_id = $8))
       AND ($9::text IS NULL OR e.speaks = $9)
       AND ($10::boolean IS NULL OR e.unverifiable = $10)
       AND ($11::timestamptz IS NULL OR e.last_seen_at >= $11)
       AND ($12::timestamptz IS NULL OR e.last_seen_at IS NULL OR e.last_seen_at < $12)
       AND ($13::timestamptz IS NULL OR e.created_at >= $13)
       AND ($14::timestamptz IS NULL OR e.created_at < $14)
       AND ($15::bytea IS NULL OR e.plmn = $15)
       AND ($16::bytea IS NULL OR EXISTS (
               SELECT 1 FROM profiles p WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.iccid = $16))
       AND ($17::boolean IS NULL OR $17 = EXISTS (
               SELECT 1 FROM operations o
                WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state IN ('sealed', 'out', 'in_doubt')
                UNION ALL
               SELECT 1 FROM operations o WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state = 'accepted'))
       AND ($18::text IS NULL OR e.group_name = $18)
     ORDER BY e.created_at, e.eid LIMIT $19
"""
# The tags are in the list's order, so a page of a common one is a piece of an index.
_OF_TAG: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM euicc_tags t JOIN euiccs e ON e.bucket = t.bucket AND e.eid = t.eid
     WHERE t.tenant = $1 AND t.tag = $4 AND (t.created_at, t.eid) > ($2, $3) AND e.tenant = $1
       AND ($5::text IS NULL OR e.label ~>=~ $5 AND e.label ~<~ ($5 || chr(1114111)))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($7::text IS NULL OR EXISTS (
               SELECT 1 FROM profiles p
                WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled'
                  AND p.service_provider = $7))
       AND ($8::text IS NULL OR e.identity = ANY (SELECT i.id FROM identities i WHERE i.tenant = $1 AND i.eim_id = $8))
       AND ($9::text IS NULL OR e.speaks = $9)
       AND ($10::boolean IS NULL OR e.unverifiable = $10)
       AND ($11::timestamptz IS NULL OR e.last_seen_at >= $11)
       AND ($12::timestamptz IS NULL OR e.last_seen_at IS NULL OR e.last_seen_at < $12)
       AND ($13::timestamptz IS NULL OR e.created_at >= $13)
       AND ($14::timestamptz IS NULL OR e.created_at < $14)
       AND ($15::bytea IS NULL OR e.plmn = $15)
       AND ($16::bytea IS NULL OR EXISTS (
               SELECT 1 FROM profiles p WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.iccid = $16))
       AND ($17::boolean IS NULL OR $17 = EXISTS (
               SELECT 1 FROM operations o
                WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state IN ('sealed', 'out', 'in_doubt')
                UNION ALL
               SELECT 1 FROM operations o WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state = 'accepted'))
       AND ($18::text IS NULL OR e.group_name = $18)
     ORDER BY t.created_at, t.eid LIMIT $19
"""
# A planner that believes that labels are scattered walks along the whole list for those that are all at its end; the
# OFFSET keeps it from that. Which of the two is quicker depends on how many there are: they are counted, up to a limit.
_LABELLED: Final = """
    SELECT count(*)
      FROM (SELECT 1 FROM euiccs l
             WHERE l.tenant = $1 AND l.label ~>=~ $2 AND l.label ~<~ ($2 || chr(1114111)) LIMIT $3) few
"""
_OF_LABEL: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM (SELECT l.* FROM euiccs l
             WHERE l.tenant = $1 AND l.label ~>=~ $5 AND l.label ~<~ ($5 || chr(1114111)) OFFSET 0) e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND ($4::text IS NULL OR EXISTS (
               SELECT 1 FROM euicc_tags t WHERE t.bucket = e.bucket AND t.eid = e.eid AND t.tag = $4))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($7::text IS NULL OR EXISTS (
               SELECT 1 FROM profiles p
                WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled'
                  AND p.service_provider = $7))
       AND ($8::text IS NULL OR e.identity = ANY (SELECT i.id FROM identities i WHERE i.tenant = $1 AND i.eim_id = $8))
       AND ($9::text IS NULL OR e.speaks = $9)
       AND ($10::boolean IS NULL OR e.unverifiable = $10)
       AND ($11::timestamptz IS NULL OR e.last_seen_at >= $11)
       AND ($12::timestamptz IS NULL OR e.last_seen_at IS NULL OR e.last_seen_at < $12)
       AND ($13::timestamptz IS NULL OR e.created_at >= $13)
       AND ($14::timestamptz IS NULL OR e.created_at < $14)
       AND ($15::bytea IS NULL OR e.plmn = $15)
       AND ($16::bytea IS NULL OR EXISTS (
               SELECT 1 FROM profiles p WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.iccid = $16))
       AND ($17::boolean IS NULL OR $17 = EXISTS (
               SELECT 1 FROM operations o
                WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state IN ('sealed', 'out', 'in_doubt')
                UNION ALL
               SELECT 1 FROM operations o WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state = 'accepted'))
       AND ($18::text IS NULL OR e.group_name = $18)
     ORDER BY e.created_at, e.eid LIMIT $19
"""
# Those that were not seen for long are few, and may all be at the end of the list: the day tells them by an index. A
# day that is not known, or is too early, makes no more than a candidate.
_SILENT: Final = """
    SELECT count(*)
      FROM (SELECT 1 FROM euiccs l
             WHERE l.tenant = $1 AND (l.seen_on IS NULL OR l.seen_on <= ($2::timestamptz AT TIME ZONE 'UTC')::date)
             LIMIT $3) few
"""
_OF_SILENT: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM (SELECT l.* FROM euiccs l
             WHERE l.tenant = $1 AND (l.seen_on IS NULL OR l.seen_on <= ($12::timestamptz AT TIME ZONE 'UTC')::date)
            OFFSET 0) e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND ($4::text IS NULL OR EXISTS (
               SELECT 1 FROM euicc_tags t WHERE t.bucket = e.bucket AND t.eid = e.eid AND t.tag = $4))
       AND ($5::text IS NULL OR e.label ~>=~ $5 AND e.label ~<~ ($5 || chr(1114111)))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($7::text IS NULL OR EXISTS (
               SELECT 1 FROM profiles p
                WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled'
                  AND p.service_provider = $7))
       AND ($8::text IS NULL OR e.identity = ANY (SELECT i.id FROM identities i WHERE i.tenant = $1 AND i.eim_id = $8))
       AND ($9::text IS NULL OR e.speaks = $9)
       AND ($10::boolean IS NULL OR e.unverifiable = $10)
       AND ($11::timestamptz IS NULL OR e.last_seen_at >= $11)
       AND (e.last_seen_at IS NULL OR e.last_seen_at < $12)
       AND ($13::timestamptz IS NULL OR e.created_at >= $13)
       AND ($14::timestamptz IS NULL OR e.created_at < $14)
       AND ($15::bytea IS NULL OR e.plmn = $15)
       AND ($16::bytea IS NULL OR EXISTS (
               SELECT 1 FROM profiles p WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.iccid = $16))
       AND ($17::boolean IS NULL OR $17 = EXISTS (
               SELECT 1 FROM operations o
                WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state IN ('sealed', 'out', 'in_doubt')
                UNION ALL
               SELECT 1 FROM operations o WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state = 'accepted'))
       AND ($18::text IS NULL OR e.group_name = $18)
     ORDER BY e.created_at, e.eid LIMIT $19
"""
_OF_CARRIER: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM euiccs e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND EXISTS (SELECT 1 FROM profiles p
                    WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled'
                      AND p.service_provider = $7)
       AND ($4::text IS NULL OR EXISTS (
               SELECT 1 FROM euicc_tags t WHERE t.bucket = e.bucket AND t.eid = e.eid AND t.tag = $4))
       AND ($5::text IS NULL OR e.label ~>=~ $5 AND e.label ~<~ ($5 || chr(1114111)))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($8::text IS NULL OR e.identity = ANY (SELECT i.id FROM identities i WHERE i.tenant = $1 AND i.eim_id = $8))
       AND ($9::text IS NULL OR e.speaks = $9)
       AND ($10::boolean IS NULL OR e.unverifiable = $10)
       AND ($11::timestamptz IS NULL OR e.last_seen_at >= $11)
       AND ($12::timestamptz IS NULL OR e.last_seen_at IS NULL OR e.last_seen_at < $12)
       AND ($13::timestamptz IS NULL OR e.created_at >= $13)
       AND ($14::timestamptz IS NULL OR e.created_at < $14)
       AND ($15::bytea IS NULL OR e.plmn = $15)
       AND ($16::bytea IS NULL OR EXISTS (
               SELECT 1 FROM profiles p WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.iccid = $16))
       AND ($17::boolean IS NULL OR $17 = EXISTS (
               SELECT 1 FROM operations o
                WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state IN ('sealed', 'out', 'in_doubt')
                UNION ALL
               SELECT 1 FROM operations o WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state = 'accepted'))
       AND ($18::text IS NULL OR e.group_name = $18)
     ORDER BY e.created_at, e.eid LIMIT $19
"""
_OF_ICCID: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM euiccs e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND EXISTS (SELECT 1 FROM profiles p
                    WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.iccid = $16)
       AND ($4::text IS NULL OR EXISTS (
               SELECT 1 FROM euicc_tags t WHERE t.bucket = e.bucket AND t.eid = e.eid AND t.tag = $4))
       AND ($5::text IS NULL OR e.label ~>=~ $5 AND e.label ~<~ ($5 || chr(1114111)))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($7::text IS NULL OR EXISTS (
               SELECT 1 FROM profiles p
                WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled'
                  AND p.service_provider = $7))
       AND ($8::text IS NULL OR e.identity = ANY (SELECT i.id FROM identities i WHERE i.tenant = $1 AND i.eim_id = $8))
       AND ($9::text IS NULL OR e.speaks = $9)
       AND ($10::boolean IS NULL OR e.unverifiable = $10)
       AND ($11::timestamptz IS NULL OR e.last_seen_at >= $11)
       AND ($12::timestamptz IS NULL OR e.last_seen_at IS NULL OR e.last_seen_at < $12)
       AND ($13::timestamptz IS NULL OR e.created_at >= $13)
       AND ($14::timestamptz IS NULL OR e.created_at < $14)
       AND ($15::bytea IS NULL OR e.plmn = $15)
       AND ($17::boolean IS NULL OR $17 = EXISTS (
               SELECT 1 FROM operations o
                WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state IN ('sealed', 'out', 'in_doubt')
                UNION ALL
               SELECT 1 FROM operations o WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state = 'accepted'))
       AND ($18::text IS NULL OR e.group_name = $18)
     ORDER BY e.created_at, e.eid LIMIT $19
"""
_BUSY: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM euiccs e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND (e.bucket, e.eid) IN (
               SELECT o.bucket, o.eid FROM operations o
                WHERE o.tenant = $1 AND o.state IN ('sealed', 'out', 'in_doubt')
                UNION ALL
               SELECT o.bucket, o.eid FROM operations o WHERE o.tenant = $1 AND o.state = 'accepted')
       AND ($4::text IS NULL OR EXISTS (
               SELECT 1 FROM euicc_tags t WHERE t.bucket = e.bucket AND t.eid = e.eid AND t.tag = $4))
       AND ($5::text IS NULL OR e.label ~>=~ $5 AND e.label ~<~ ($5 || chr(1114111)))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($7::text IS NULL OR EXISTS (
               SELECT 1 FROM profiles p
                WHERE p.tenant = $1 AND p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled'
                  AND p.service_provider = $7))
       AND ($8::text IS NULL OR e.identity = ANY (SELECT i.id FROM identities i WHERE i.tenant = $1 AND i.eim_id = $8))
       AND ($9::text IS NULL OR e.speaks = $9)
       AND ($10::boolean IS NULL OR e.unverifiable = $10)
       AND ($11::timestamptz IS NULL OR e.last_seen_at >= $11)
       AND ($12::timestamptz IS NULL OR e.last_seen_at IS NULL OR e.last_seen_at < $12)
       AND ($13::timestamptz IS NULL OR e.created_at >= $13)
       AND ($14::timestamptz IS NULL OR e.created_at < $14)
       AND ($15::bytea IS NULL OR e.plmn = $15)
       AND ($16::bytea IS NULL OR EXISTS (
               SELECT 1 FROM profiles p WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.iccid = $16))
       AND $17::boolean
       AND ($18::text IS NULL OR e.group_name = $18)
     ORDER BY e.created_at, e.eid LIMIT $19
"""


class Filter(msgspec.Struct, frozen=True):
    """Each None lets everything pass."""

    tag: str | None = None
    label: str | None = None  # what the label starts with
    introduced: bool | None = None
    service_provider: str | None = None  # of the enabled profile
    identity: str | None = None  # an eimId
    speaks: str | None = None
    unverifiable: bool | None = None
    seen_after: datetime | None = None
    seen_before: datetime | None = None  # or never
    created_after: datetime | None = None
    created_before: datetime | None = None
    plmn: bytes | None = None
    iccid: Iccid | None = None  # that it holds, enabled or not
    busy: bool | None = None  # whether an operation is open
    group: str | None = None


class Listed(msgspec.Struct, frozen=True):
    """An eUICC in a listing."""

    eid: Eid
    created_at: datetime
    label: str | None
    tags: tuple[str, ...]
    introduced_at: datetime | None
    speaks: str | None
    last_seen_at: datetime | None
    inventory_at: datetime | None
    carrier: str | None  # the enabled profile's service provider
    group: str | None = None
    time_zone: str | None = None


async def page(db: Db, tenant: TenantId, wanted: Filter, after: tuple[datetime, Eid], limit: int) -> tuple[Listed, ...]:
    """Those behind `after`, oldest first. Give it a connection of `connect.listing`."""
    if wanted.created_after is not None and wanted.created_after > after[0]:
        after = (wanted.created_after, Eid(b""))  # the scan begins there, not at the first row
    values = (tenant, *after, *msgspec.structs.astuple(wanted), limit)
    if wanted.iccid is not None:
        rows = await db.fetch(_OF_ICCID, *values)
    elif wanted.tag is not None:
        rows = await db.fetch(_OF_TAG, *values)
    elif wanted.busy:
        rows = await db.fetch(_BUSY, *values)
    elif wanted.service_provider is not None:
        rows = await db.fetch(_OF_CARRIER, *values)
    elif wanted.label is not None and await _is_rare_label(db, tenant, wanted.label):
        rows = await db.fetch(_OF_LABEL, *values)
    elif wanted.seen_before is not None and await _are_few_silent(db, tenant, wanted.seen_before):
        rows = await db.fetch(_OF_SILENT, *values)
    else:
        rows = await db.fetch(_PAGE, *values)
    return tuple(listed_in(row) for row in rows)


async def _is_rare_label(db: Db, tenant: TenantId, label: str) -> bool:
    return int(await db.fetchval(_LABELLED, tenant, label, _FEW + 1)) <= _FEW


async def _are_few_silent(db: Db, tenant: TenantId, since: datetime) -> bool:
    return int(await db.fetchval(_SILENT, tenant, since, _FEW + 1)) <= _FEW


def listed_in(row: Row) -> Listed:
    """What a listing shows of a row with these columns."""
    return Listed(
        Eid(row["eid"]),
        row["created_at"],
        row["label"],
        tuple(row["tags"]),
        row["introduced_at"],
        row["speaks"],
        row["last_seen_at"],
        row["inventory_at"],
        row["carrier"],
        row["group_name"],
        row["time_zone"],
    )
