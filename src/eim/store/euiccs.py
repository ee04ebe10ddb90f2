"""The eUICCs and what we know of each: table `euiccs`, read and inserted for the operator."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.ids import Bucket, Eid, IdentityId, TenantId
from eim.store import Db

_CHUNK: Final = 10_000  # eUICCs a statement: each ends well before the connection's command timeout

_IDENTITIES: Final = """
    SELECT id, eim_id, initial_counter FROM identities WHERE tenant = $1 AND retired_at IS NULL ORDER BY id
"""
# Who is already there, here or in another tenant, is passed over: the caller sees it in what comes back.
_INSERT: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, label, tags, introduced_at, counter, association_token,
                        unverifiable, euicc_certificate, eum_certificate, curve, public_key, ci_key_id)
    SELECT u.bucket, u.eid, $1, u.identity, u.label, ARRAY(SELECT jsonb_array_elements_text(u.tags -> 'tags')),
           CASE WHEN u.introduced THEN now() END, u.counter, u.token,
           u.unverifiable, u.euicc_certificate, u.eum_certificate, u.curve, u.public_key, u.ci_key_id
      FROM unnest($2::smallint[], $3::bytea[], $4::smallint[], $5::text[], $6::jsonb[], $7::boolean[], $8::integer[],
                  $9::bigint[], $10::boolean[], $11::bytea[], $12::bytea[], $13::text[], $14::bytea[], $15::bytea[])
        AS u (bucket, eid, identity, label, tags, introduced, counter,
              token, unverifiable, euicc_certificate, eum_certificate, curve, public_key, ci_key_id)
        ON CONFLICT (bucket, eid) DO NOTHING
 RETURNING bucket, eid
"""
_INSERT_HEADS: Final = """
    INSERT INTO mailbox (bucket, eid, tenant) SELECT u.bucket, u.eid, $1 FROM unnest($2::smallint[], $3::bytea[])
        AS u (bucket, eid)
"""
# Locks of many rows are taken bucket by bucket, and within one by EID: two orders never wait for each other.
_LOCK: Final = """
    SELECT bucket, eid, identity, inventory_at FROM euiccs
     WHERE bucket = $1 AND eid = ANY ($2::bytea[]) AND tenant = $3 ORDER BY eid FOR UPDATE
"""
_ALLOCATE: Final = """
    UPDATE euiccs e SET ordinals = e.ordinals + u.wanted
      FROM unnest($1::smallint[], $2::bytea[], $3::integer[]) AS u (bucket, eid, wanted)
     WHERE e.bucket = u.bucket AND e.eid = u.eid AND e.tenant = $4
 RETURNING e.bucket, e.eid, e.ordinals
"""
_TAGGED: Final = """
    SELECT bucket, eid FROM euiccs WHERE tenant = $1 AND ($2::text IS NULL OR tags @> ARRAY[$2::text])
"""
_PAGE: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier
      FROM euiccs e
     WHERE e.tenant = $1 AND (e.created_at, e.eid) > ($2, $3)
       AND ($4::text IS NULL OR e.tags @> ARRAY[$4::text])
       AND ($5::text IS NULL OR starts_with(e.label, $5))
       AND ($6::boolean IS NULL OR (e.introduced_at IS NOT NULL) = $6)
       AND ($7::text IS NULL OR EXISTS (
               SELECT 1 FROM profiles p
                WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' AND p.service_provider = $7))
     ORDER BY e.created_at, e.eid LIMIT $8
"""
_READ: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier,
           i.eim_id, e.counter, e.association_token, e.token_proven, e.signature_form, e.signature_coding,
           e.unverifiable, e.euicc_certificate IS NOT NULL AS certified, e.curve, e.ci_key_id, e.capabilities,
           e.highest_seq, e.plmn, m.operation, m.counter AS head_counter, m.handed_at, m.deliveries
      FROM euiccs e
      JOIN identities i ON i.id = e.identity
      JOIN mailbox m ON m.bucket = e.bucket AND m.eid = e.eid
     WHERE e.bucket = $1 AND e.eid = $2 AND e.tenant = $3
"""
_BY_INTRODUCTION: Final = """
    SELECT introduced_at IS NOT NULL AS introduced, count(*) AS many FROM euiccs WHERE tenant = $1 GROUP BY 1
"""


class Identity(msgspec.Struct, frozen=True):
    """An identity of the tenant that new eUICCs may be associated with."""

    id: IdentityId
    eim_id: str
    initial_counter: int


class Newcomer(msgspec.Struct, frozen=True):
    """An eUICC as onboarding inserts it."""

    bucket: Bucket
    eid: Eid
    identity: IdentityId
    label: str | None
    tags: tuple[str, ...]
    introduced: bool
    counter: int  # the last one used with it
    token: int | None
    unverifiable: bool
    euicc_certificate: bytes | None
    eum_certificate: bytes | None
    curve: str | None
    public_key: bytes | None  # 65 octets
    ci_key_id: bytes | None


class Locked(msgspec.Struct, frozen=True):
    """What an order needs of an eUICC; its row stays locked until the transaction ends."""

    bucket: Bucket
    eid: Eid
    identity: IdentityId
    inventory_at: datetime | None  # None: its profiles are not known yet


class Filter(msgspec.Struct, frozen=True):
    """Each None lets everything pass."""

    tag: str | None = None
    label: str | None = None  # what the label starts with
    introduced: bool | None = None
    service_provider: str | None = None  # of the enabled profile


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


class Head(msgspec.Struct, frozen=True):
    """What is out with it or would go out next; never the octets."""

    operation: UUID
    counter: int | None
    handed_at: datetime | None  # None: not handed out yet
    deliveries: int


class Seen(msgspec.Struct, frozen=True):
    """Everything of one eUICC that an operator may see."""

    listed: Listed
    eim_id: str
    counter: int
    association_token: int | None
    token_proven: bool
    signature_form: str | None
    signature_coding: str | None
    unverifiable: bool
    certified: bool
    curve: str | None
    ci_key_id: bytes | None
    capabilities: Mapping[str, object]
    highest_seq: int | None
    plmn: bytes | None
    head: Head | None


async def identities(db: Db, tenant: TenantId) -> tuple[Identity, ...]:
    """The identities in use, oldest first."""
    rows = await db.fetch(_IDENTITIES, tenant)
    return tuple(Identity(r["id"], r["eim_id"], r["initial_counter"]) for r in rows)


async def insert(db: Db, tenant: TenantId, newcomers: Sequence[Newcomer]) -> set[Eid]:
    """Insert them with their empty mailbox heads; gives those that were new. Sort them by (bucket, eid) before."""
    fields = [
        [n.bucket for n in newcomers],
        [n.eid for n in newcomers],
        [n.identity for n in newcomers],
        [n.label for n in newcomers],
        [{"tags": n.tags} for n in newcomers],
        [n.introduced for n in newcomers],
        [n.counter for n in newcomers],
        [n.token for n in newcomers],
        [n.unverifiable for n in newcomers],
        [n.euicc_certificate for n in newcomers],
        [n.eum_certificate for n in newcomers],
        [n.curve for n in newcomers],
        [n.public_key for n in newcomers],
        [n.ci_key_id for n in newcomers],
    ]
    rows = await db.fetch(_INSERT, tenant, *fields)
    await db.execute(_INSERT_HEADS, tenant, [r["bucket"] for r in rows], [r["eid"] for r in rows])
    return {Eid(r["eid"]) for r in rows}


async def lock(db: Db, tenant: TenantId, bucket: Bucket, eids: Sequence[Eid]) -> list[Locked]:
    """Lock the rows of these eUICCs of one bucket; who is not the tenant's is not among them."""
    rows = await db.fetch(_LOCK, bucket, eids, tenant)
    return [Locked(r["bucket"], Eid(r["eid"]), r["identity"], r["inventory_at"]) for r in rows]


async def allocate(db: Db, tenant: TenantId, wanted: Mapping[tuple[Bucket, Eid], int]) -> dict[Eid, int]:
    """Give each eUICC so many ordinals; the answer has the last one of each. Lock their rows before."""
    ordinals: dict[Eid, int] = {}
    every = list(wanted.items())
    for start in range(0, len(every), _CHUNK):
        some = every[start : start + _CHUNK]
        buckets, eids = [bucket for (bucket, _), _ in some], [eid for (_, eid), _ in some]
        rows = await db.fetch(_ALLOCATE, buckets, eids, [many for _, many in some], tenant)
        ordinals.update((Eid(r["eid"]), r["ordinals"]) for r in rows)
    return ordinals


async def tagged(db: Db, tenant: TenantId, tag: str | None) -> list[Eid]:
    """Every eUICC of the tenant, or every one with `tag`."""
    return [Eid(r["eid"]) for r in await db.fetch(_TAGGED, tenant, tag)]


async def page(db: Db, tenant: TenantId, wanted: Filter, after: tuple[datetime, Eid], limit: int) -> tuple[Listed, ...]:
    """Those behind `after`, oldest first."""
    filters = (wanted.tag, wanted.label, wanted.introduced, wanted.service_provider)
    return tuple(_listed(row) for row in await db.fetch(_PAGE, tenant, *after, *filters, limit))


async def read(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> Seen | None:
    """Everything known of one; None when the tenant has none of this EID."""
    row = await db.fetchrow(_READ, bucket, eid, tenant)
    return _seen(row) if row else None


async def by_introduction(db: Db, tenant: TenantId) -> dict[bool, int]:
    """How many are introduced and how many are not."""
    return {r["introduced"]: r["many"] for r in await db.fetch(_BY_INTRODUCTION, tenant)}


def _listed(row: Row) -> Listed:
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
    )


def _seen(row: Row) -> Seen:
    head = (
        Head(row["operation"], row["head_counter"], row["handed_at"], row["deliveries"]) if row["operation"] else None
    )
    return Seen(
        _listed(row),
        row["eim_id"],
        row["counter"],
        row["association_token"],
        row["token_proven"],
        row["signature_form"],
        row["signature_coding"],
        row["unverifiable"],
        row["certified"],
        row["curve"],
        row["ci_key_id"],
        row["capabilities"],
        row["highest_seq"],
        row["plmn"],
        head,
    )
