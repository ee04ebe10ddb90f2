"""The eUICCs and what we know of each: table `euiccs`, read and inserted for the operator."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record as Row

from eim.domain.euicc import Eim, Speaks
from eim.domain.ids import Bucket, Eid, IdentityId, TenantId
from eim.store import Db
from eim.store.barring import Bar
from eim.store.euicc_pages import Listed, listed_in

_CHUNK: Final = 10_000  # eUICCs a statement: each ends well before the connection's command timeout

_IDENTITIES: Final = """
    SELECT id, eim_id, initial_counter FROM identities WHERE tenant = $1 AND retired_at IS NULL ORDER BY id
"""
# What those who were here before obey, and where their counters are. Asked before, in a call of its own.
_COMING_BACK: Final = """
    SELECT eid, counter, key_number, next_key, next_counter
      FROM coming_back($2::smallint[], $3::bytea[], $4::smallint[], $5::bigint[], $1)
"""
_BACK: Final = ("counter", "key_number", "next_key", "next_counter")
# Who is already there, here or in another tenant, is passed over: the caller sees it in what comes back. Who was here
# before goes on from the counter its card has seen (greatest passes NULL over), with the key that it obeys: not so when
# another token is named, which a card draws for another association. Who left in the middle of a move obeys the next
# key or the one before: the next one is tried first.
_INSERT: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, label, tags, introduced_at, counter, association_token,
                        unverifiable, euicc_certificate, eum_certificate, curve, public_key, ci_key_id, group_name,
                        time_zone, key_number, next_key, next_counter, trial_key)
    SELECT u.bucket, u.eid, $1, u.identity, u.label, ARRAY(SELECT jsonb_array_elements_text(u.tags -> 'tags')),
           CASE WHEN u.introduced THEN now() END,
           greatest(u.counter, u.seen, (SELECT max(d.counter) FROM departed d JOIN identities i ON i.eim_id = d.eim_id
                                 WHERE d.bucket = u.bucket AND d.eid = u.eid AND d.tenant = $1 AND i.id = u.identity)),
           u.token,
           u.unverifiable, u.euicc_certificate, u.eum_certificate, u.curve, u.public_key, u.ci_key_id, u.group_name,
           u.time_zone,
           coalesce(u.key_number, (SELECT f.key_number FROM identities f WHERE f.id = u.identity)),
           u.next_key, u.next_counter, u.next_key
      FROM unnest($2::smallint[], $3::bytea[], $4::smallint[], $5::text[], $6::jsonb[], $7::boolean[], $8::integer[],
                  $9::bigint[], $10::boolean[], $11::bytea[], $12::bytea[], $13::text[], $14::bytea[], $15::bytea[],
                  $16::text[], $17::text[], $18::integer[], $19::smallint[], $20::smallint[], $21::integer[])
        AS u (bucket, eid, identity, label, tags, introduced, counter,
              token, unverifiable, euicc_certificate, eum_certificate, curve, public_key, ci_key_id, group_name,
              time_zone, seen, key_number, next_key, next_counter)
        ON CONFLICT (bucket, eid) DO NOTHING
 RETURNING bucket, eid
"""
_INSERT_HEADS: Final = """
    INSERT INTO mailbox (bucket, eid, tenant) SELECT u.bucket, u.eid, $1 FROM unnest($2::smallint[], $3::bytea[])
        AS u (bucket, eid)
"""
_INSERT_TAGS: Final = """
    INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at)
    SELECT u.bucket, u.eid, u.tag, $1, now()
      FROM unnest($2::smallint[], $3::bytea[], $4::text[]) AS u (bucket, eid, tag)
        ON CONFLICT (bucket, eid, tag) DO NOTHING
"""
# Locks of many rows are taken bucket by bucket, and within one by EID: two orders never wait for each other.
_LOCK: Final = """
    SELECT e.bucket, e.eid, e.identity, e.inventory_at, e.time_zone, e.speaks, e.eims, i.eim_id
      FROM euiccs e JOIN identities i ON i.id = e.identity
     WHERE e.bucket = $1 AND e.eid = ANY ($2::bytea[]) AND e.tenant = $3 ORDER BY e.eid FOR UPDATE OF e
"""
_LOCK_MANY: Final = """
    SELECT c.in_bucket AS bucket, c.its_eid AS eid, c.its_identity AS identity, c.its_inventory_at AS inventory_at,
           c.its_time_zone AS time_zone, c.its_speaks AS speaks, c.its_eim_id AS eim_id, c.its_eims AS eims
      FROM lock_cards($1::smallint[], $2::bytea[], $3) AS c
"""
_FIND: Final = """
    SELECT e.bucket, e.eid, e.identity, e.inventory_at, e.time_zone, e.speaks, e.eims, i.eim_id
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN euiccs e ON e.bucket = u.bucket AND e.eid = u.eid
      JOIN identities i ON i.id = e.identity
     WHERE e.tenant = $3
"""
# A bulk order gives ordinals without counting them here (store/spreads.py): the count goes on from the highest one.
_ALLOCATE: Final = """
    UPDATE euiccs e
       SET ordinals = u.wanted + greatest(e.ordinals, (SELECT max(o.ordinal) FROM operations o
                                                        WHERE o.bucket = e.bucket AND o.eid = e.eid))
      FROM unnest($1::smallint[], $2::bytea[], $3::integer[]) AS u (bucket, eid, wanted)
     WHERE e.bucket = u.bucket AND e.eid = u.eid AND e.tenant = $4
 RETURNING e.bucket, e.eid, e.ordinals
"""
_EVERY: Final = "SELECT eid FROM euiccs WHERE tenant = $1 LIMIT $2"
_TAGGED: Final = "SELECT eid FROM euicc_tags WHERE tenant = $1 AND tag = $2 LIMIT $3"
_READ: Final = """
    SELECT e.bucket, e.eid, e.created_at, e.label, e.tags, e.introduced_at, e.speaks, e.last_seen_at, e.inventory_at,
           e.group_name, e.time_zone,
           (SELECT p.service_provider FROM profiles p
             WHERE p.bucket = e.bucket AND p.eid = e.eid AND p.state = 'enabled' LIMIT 1) AS carrier,
           i.eim_id, e.key_number, e.next_key, e.stalled, e.stalled_at, e.handed_over_at, e.counter,
           (SELECT h.stage FROM handover_cards h WHERE h.bucket = e.bucket AND h.eid = e.eid
             ORDER BY h.changed_at DESC LIMIT 1) AS handover,
           e.association_token, e.token_proven, e.signature_form, e.signature_coding,
           e.unverifiable, e.euicc_certificate IS NOT NULL AS certified, e.curve, e.ci_key_id, e.capabilities,
           e.highest_seq, e.plmn, e.orphaned_at, e.quarantined_at, e.quarantine_why, e.denied_by, e.ecall_since,
           e.reset_at, e.settings, e.eims, e.eims_at, m.operation, m.counter AS head_counter, m.handed_at, m.deliveries
      FROM euiccs e
      JOIN identities i ON i.id = e.identity
      JOIN mailbox m ON m.bucket = e.bucket AND m.eid = e.eid
     WHERE e.bucket = $1 AND e.eid = $2 AND e.tenant = $3
"""
_EDITABLE: Final = """
    SELECT label, tags, group_name, time_zone, unverifiable FROM euiccs
     WHERE bucket = $1 AND eid = $2 AND tenant = $3 FOR UPDATE
"""
_EDIT: Final = """
    UPDATE euiccs SET label = $4, tags = $5, group_name = $6, time_zone = $7, unverifiable = $8
     WHERE bucket = $1 AND eid = $2 AND tenant = $3
"""
_UNTAG: Final = "DELETE FROM euicc_tags WHERE bucket = $1 AND eid = $2 AND tenant = $3 AND tag <> ALL ($4::text[])"
_RETAG: Final = """
    INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at)
    SELECT e.bucket, e.eid, u.tag, e.tenant, e.created_at FROM euiccs e, unnest($4::text[]) AS u (tag)
     WHERE e.bucket = $1 AND e.eid = $2 AND e.tenant = $3
        ON CONFLICT (bucket, eid, tag) DO NOTHING
"""
_LEAVING: Final = """
    SELECT i.eim_id, e.counter, e.association_token, e.key_number,
           CASE WHEN NOT r.certain THEN e.next_key END AS next_key,
           CASE WHEN NOT r.certain THEN e.next_counter END AS next_counter,
           (SELECT count(*) FROM operations o
             WHERE o.bucket = $1 AND o.eid = $2
               AND (o.state IN ('sealed', 'out', 'in_doubt') OR o.state = 'accepted')
               AND (o.ordered_by <> 'eim' OR o.state IN ('out', 'in_doubt'))) AS open
      FROM euiccs e JOIN identities i ON i.id = e.identity
           CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM operations o
                                               WHERE o.bucket = $1 AND o.eid = $2 AND o.kind = 'renewAssociation'
                                                 AND (o.state = 'accepted' OR o.state = 'sealed')) AS certain) r
     WHERE e.bucket = $1 AND e.eid = $2 AND e.tenant = $3 FOR UPDATE OF e
"""
_DEPART: Final = """
    INSERT INTO departed (bucket, eid, tenant, eim_id, counter, association_token, key_number, next_key, next_counter)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (bucket, eid, tenant, eim_id)
        DO UPDATE SET counter = excluded.counter, association_token = excluded.association_token,
                      key_number = excluded.key_number, next_key = excluded.next_key,
                      next_counter = excluded.next_counter, departed_at = now()
"""
_NO_REQUESTS: Final = "DELETE FROM requests WHERE bucket = $1 AND eid = $2"
# Under the lock of `_LEAVING`: nothing is added meanwhile.
_REMOVE: Final = "DELETE FROM euiccs WHERE bucket = $1 AND eid = $2 AND tenant = $3"
_FORGET: Final = "SELECT forget($1::smallint[], $2::bytea[])"
# Two counts that an index each answers alone.
_COUNT: Final = "SELECT count(*) FROM euiccs WHERE tenant = $1"
_COUNT_NEW: Final = "SELECT count(*) FROM euiccs WHERE tenant = $1 AND introduced_at IS NULL"


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
    group: str | None = None
    time_zone: str | None = None


class Locked(msgspec.Struct, frozen=True):
    """What an order needs of an eUICC; its row stays locked until the transaction ends."""

    bucket: Bucket
    eid: Eid
    identity: IdentityId
    inventory_at: datetime | None  # None: its profiles are not known yet
    time_zone: str | None
    speaks: Speaks | None  # None: not learnt yet
    eim_id: str  # ours
    eims: tuple[Eim, ...] | None  # those on the card; None: it did not list them yet


class Editable(msgspec.Struct, frozen=True):
    """What an operator may write on an eUICC."""

    label: str | None
    tags: tuple[str, ...]
    group: str | None
    time_zone: str | None
    unverifiable: bool = False  # it can't sign: what is sent in its name is believed

    @property
    def version(self) -> str:
        """Names these values: the same for the same, so an ETag."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class Leaving(msgspec.Struct, frozen=True):
    """What must be remembered of an eUICC that is offboarded."""

    eim_id: str
    counter: int  # the last one allocated: whoever associates with the card again begins above
    association_token: int | None
    key_number: int  # of the identity: the key that it obeys
    next_key: int | None  # .. or this one: the updateEim that brings it may be with the card
    next_counter: int | None  # where it begins to count then; None: it goes on
    open: int  # operations that somebody waits for, or that may be with the card


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
    bar: Bar
    ecall_since: datetime | None
    reset_at: datetime | None
    settings: Mapping[str, object]  # as results told them: defaultSmdpAddress, immediateEnable, rat
    eims: tuple[Eim, ...] | None  # None: it did not list them yet
    eims_at: datetime | None
    notifications: Mapping[str, int] = {}  # on their way to an SM-DP+: how many, by state
    key_number: int = 0  # of the identity: the key that it obeys
    next_key: int | None = None  # the one that an updateEim of ours gives it
    stalled: str | None = None  # why nothing is signed for it
    stalled_at: datetime | None = None
    handed_over_at: datetime | None = None
    handover: str | None = None  # the stage of its last hand-over


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
        [n.group for n in newcomers],
        [n.time_zone for n in newcomers],
    ]
    await db.execute(_FORGET, fields[0], fields[1])
    known = {r["eid"]: r for r in await db.fetch(_COMING_BACK, tenant, *fields[:3], fields[7])}
    back = [[known[n.eid][name] if n.eid in known else None for n in newcomers] for name in _BACK]
    rows = await db.fetch(_INSERT, tenant, *fields, *back)
    await db.execute(_INSERT_HEADS, tenant, [r["bucket"] for r in rows], [r["eid"] for r in rows])
    new = {Eid(r["eid"]) for r in rows}
    tags = [(n.bucket, n.eid, tag) for n in newcomers if n.eid in new for tag in n.tags]
    if tags:
        await db.execute(_INSERT_TAGS, tenant, *(list(column) for column in zip(*tags, strict=True)))
    return new


async def lock(db: Db, tenant: TenantId, bucket: Bucket, eids: Sequence[Eid]) -> list[Locked]:
    """Lock the rows of these eUICCs of one bucket; who is not the tenant's is not among them."""
    rows = await db.fetch(_LOCK, bucket, eids, tenant)
    return [msgspec.convert(dict(row), Locked) for row in rows]


async def lock_many(db: Db, tenant: TenantId, at: Iterable[tuple[Bucket, Eid]]) -> list[Locked]:
    """Lock the rows of these eUICCs of any buckets, in the order of (bucket, EID)."""
    ordered, found = sorted(set(at)), list[Locked]()
    for start in range(0, len(ordered), _CHUNK):
        some = ordered[start : start + _CHUNK]
        rows = await db.fetch(_LOCK_MANY, [bucket for bucket, _ in some], [eid for _, eid in some], tenant)
        found += [msgspec.convert(dict(row), Locked) for row in rows]
    return found


async def find(db: Db, tenant: TenantId, at: Sequence[tuple[Bucket, Eid]]) -> list[Locked]:
    """These eUICCs as `lock` gives them, but not locked: to look, not to act."""
    rows = await db.fetch(_FIND, [bucket for bucket, _ in at], [eid for _, eid in at], tenant)
    return [msgspec.convert(dict(row), Locked) for row in rows]


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


async def tagged(db: Db, tenant: TenantId, tag: str | None, limit: int) -> list[Eid]:
    """Up to `limit` eUICCs of the tenant, or with `tag`."""
    rows = await db.fetch(_EVERY, tenant, limit) if tag is None else await db.fetch(_TAGGED, tenant, tag, limit)
    return [Eid(r["eid"]) for r in rows]


async def read(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> Seen | None:
    """Everything known of one; None when the tenant has none of this EID."""
    row = await db.fetchrow(_READ, bucket, eid, tenant)
    return _seen(row) if row else None


async def editable(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> Editable | None:
    """What an operator wrote on it, locked until the transaction ends; None when the tenant has none of this EID."""
    row = await db.fetchrow(_EDITABLE, bucket, eid, tenant)
    if row is None:
        return None
    return Editable(row["label"], tuple(row["tags"]), row["group_name"], row["time_zone"], row["unverifiable"])


async def edit(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid, new: Editable) -> None:
    """Write it; lock the row before."""
    written = (new.label, list(new.tags), new.group, new.time_zone, new.unverifiable)
    await db.execute(_EDIT, bucket, eid, tenant, *written)
    await db.execute(_UNTAG, bucket, eid, tenant, list(new.tags))
    await db.execute(_RETAG, bucket, eid, tenant, list(new.tags))


async def leaving(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid) -> Leaving | None:
    """Lock it and say what would be lost with it; None when the tenant has none of this EID."""
    row = await db.fetchrow(_LEAVING, bucket, eid, tenant)
    return msgspec.convert(dict(row), Leaving) if row else None


async def remove(db: Db, tenant: TenantId, bucket: Bucket, eid: Eid, left: Leaving) -> None:
    """Take it out, with its profiles, operations, packages and requests; counter and key are kept in `departed`."""
    kept = left.counter, left.association_token, left.key_number, left.next_key, left.next_counter
    await db.execute(_DEPART, bucket, eid, tenant, left.eim_id, *kept)
    await db.execute(_NO_REQUESTS, bucket, eid)
    await db.execute(_REMOVE, bucket, eid, tenant)
    await db.execute(_FORGET, [bucket], [eid])


async def by_introduction(db: Db, tenant: TenantId) -> dict[bool, int]:
    """How many are introduced and how many are not."""
    every, new = await db.fetchval(_COUNT, tenant), await db.fetchval(_COUNT_NEW, tenant)
    return {True: every - new, False: new}


def _seen(row: Row) -> Seen:
    head = (
        Head(row["operation"], row["head_counter"], row["handed_at"], row["deliveries"]) if row["operation"] else None
    )
    return Seen(
        listed_in(row),
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
        Bar(row["orphaned_at"], row["quarantined_at"], row["quarantine_why"], row["denied_by"]),
        row["ecall_since"],
        row["reset_at"],
        row["settings"] or {},
        msgspec.convert(row["eims"], tuple[Eim, ...] | None),
        row["eims_at"],
        key_number=row["key_number"],
        next_key=row["next_key"],
        stalled=row["stalled"],
        stalled_at=row["stalled_at"],
        handed_over_at=row["handed_over_at"],
        handover=row["handover"],
    )
