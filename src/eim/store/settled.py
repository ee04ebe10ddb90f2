"""Many plain results at once: what they find, and what is written of them, in a statement each for all.

What one result does by itself is in `results`, `work`, `mailbox` and `inventory`; these do the same to many rows.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import Record, UniqueViolationError

from eim.domain.euicc import Profile, ProfileState, SignatureForm, Speaks
from eim.domain.ids import Bucket, Eid, Iccid, TenantId, TransactionId
from eim.domain.operation import Kind, State
from eim.domain.step import Details
from eim.errors import Contended
from eim.store import Db
from eim.store.drawing import draw
from eim.store.packages import Package
from eim.store.results import Stored
from eim.store.work import Asked, Ending

# A row comes back only for what is plain: the package that is out, of a card that nothing has to be found out about.
# What `_LOCK` asks of the card once more is the same. Said plainly, the states would let the planner read an index of
# all that is open instead of the keys, which looks short to it as long as statistics are of the time before a campaign.
# Its columns are read by place.
_FIND: Final = """
    SELECT u.n,
           e.eid, e.tenant, i.eim_id, e.association_token, e.signature_form, e.curve, e.public_key, e.highest_seq,
           e.speaks, e.inventory_at IS NOT NULL AS listed,
           p.number, p.operation, p.counter, p.transaction, p.token, p.speaks AS spoken,
           CASE WHEN o.kind IN ('listProfileInfo', 'package') THEN p.sealed ELSE '' END AS sealed, p.state,
           p.key_number,
           o.id, o.kind, o.iccid, o.rollback, o.details, o.doubt, o.outcome, o.order_id, o.attempts, o.retries
      FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::integer[])
           WITH ORDINALITY AS u (bucket, eid, transaction, counter, n)
      JOIN packages p ON p.bucket = u.bucket AND p.transaction = u.transaction AND p.counter = u.counter
     CROSS JOIN LATERAL (SELECT * FROM operations WHERE bucket = p.bucket AND id = p.operation LIMIT 1) AS o
     CROSS JOIN LATERAL (SELECT * FROM euiccs WHERE bucket = p.bucket AND eid = p.eid LIMIT 1) AS e
      JOIN identities i ON i.id = e.identity
     WHERE (u.eid IS NULL OR p.eid = u.eid) AND coalesce(p.state, '') = 'head' AND coalesce(o.state, '') = 'out'
       AND o.kind <> 'renewAssociation'
       AND e.signature_form IN ('token', 'zero') AND e.signature_coding = 'raw' AND e.public_key IS NOT NULL
       AND e.token_proven AND NOT e.token_on_trial AND NOT e.unverifiable AND e.next_key IS NULL
       AND e.denied_by IS NULL AND e.orphaned_at IS NULL AND e.quarantined_at IS NULL
       AND e.reset_at IS NULL AND e.ecall_since IS NULL AND e.reported_cause IS NULL
       AND NOT coalesce(e.traced_until > now() AND e.trace_left > 0, false)
"""

# Writing the card's own count is what locks the row: of several at once, the others find another count than they read.
_LOCK: Final = """
    UPDATE euiccs e
       SET highest_seq = greatest(e.highest_seq, u.seq),
           resyncs = CASE WHEN u.seq IS NULL THEN e.resyncs ELSE 0 END,
           inventory_at = CASE WHEN u.lists THEN now() ELSE e.inventory_at END,
           settings = CASE WHEN u.settings IS NULL THEN e.settings ELSE coalesce(e.settings, '{}') || u.settings END
      FROM unnest($1::smallint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::text[],
                  $8::boolean[], $9::boolean[], $10::jsonb[])
           WITH ORDINALITY AS u (bucket, eid, seq, highest, token, key, speaks, listed, lists, settings, n)
     WHERE e.bucket = u.bucket AND e.eid = u.eid
       AND e.highest_seq IS NOT DISTINCT FROM u.highest AND e.association_token IS NOT DISTINCT FROM u.token
       AND e.public_key = u.key AND e.speaks IS NOT DISTINCT FROM u.speaks
       AND (e.inventory_at IS NOT NULL) = u.listed
       AND e.signature_form IN ('token', 'zero') AND e.signature_coding = 'raw'
       AND e.token_proven AND NOT e.token_on_trial AND NOT e.unverifiable AND e.next_key IS NULL
       AND e.denied_by IS NULL AND e.orphaned_at IS NULL AND e.quarantined_at IS NULL
       AND e.reset_at IS NULL AND e.ecall_since IS NULL AND e.reported_cause IS NULL
 RETURNING u.n
"""
_PROFILES: Final = """
    SELECT p.eid, p.iccid, p.state, p.isdp_aid, p.nickname, p.service_provider, p.name, p.profile_class, p.fallback,
           p.ppr, p.fallback_allowed
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
      JOIN profiles p ON p.bucket = u.bucket AND p.eid = u.eid
     ORDER BY p.bucket, p.eid, p.iccid
"""
_DOUBTFUL: Final = """
    SELECT u.eid FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
     WHERE (SELECT true FROM operations o
             WHERE o.bucket = u.bucket AND o.eid = u.eid AND o.state = 'in_doubt' LIMIT 1)
"""
_RESOLVE: Final = "SELECT resolve_heads($1, $2, $3)"
# As `results` keeps one and `work` ends its operation; of profiles, those of which only state or fallback attribute are
# others. The answer: how many ended, after which of them others come, and whether any card has more to be done. LIMIT
# keeps these looks to one row each: EXISTS would be answered by reading all that is accepted anywhere. That nothing is
# held is not said plainly: the planner would go through the index of due work, which has no card in front.
_END: Final = """
    WITH ended AS (
        UPDATE operations o SET state = u.state, outcome = u.outcome, ended_at = now()
          FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::jsonb[], $5::jsonb[], $6::bytea[], $7::bytea[],
                      $8::text[], $9::bytea[], $10::integer[], $11::bigint[], $12::text[], $13::text[], $14::text[],
                      $15::uuid[], $16::uuid[], $17::uuid[])
               AS u (bucket, id, state, outcome, told, digest, octets, kind, transaction, counter, seq_number, verdict,
                     form, coding, result, event, record)
         WHERE o.bucket = u.bucket AND o.id = u.id AND coalesce(o.state, '') = 'out'
     RETURNING o.bucket, o.id, o.eid, o.tenant, 'operation.' || u.state AS happened, u.told, u.digest, u.octets,
               u.kind, u.transaction, u.counter, u.seq_number, u.verdict, u.form, u.coding, u.result, u.event, u.record
    ), stored AS (
        INSERT INTO results (bucket, id, eid, tenant, digest, octets, kind, operation, transaction, counter,
                             seq_number, verdict, form, coding)
        SELECT e.bucket, e.result, e.eid, e.tenant, e.digest, e.octets, e.kind, e.id, e.transaction,
               e.counter, e.seq_number, e.verdict, e.form, e.coding
          FROM ended e
    ), told AS (
        INSERT INTO events (bucket, id, eid, tenant, kind, data)
        SELECT e.bucket, e.event, e.eid, e.tenant, e.happened, e.told FROM ended e
    ), audited AS (
        INSERT INTO audit (bucket, id, tenant, actor, action, subject, data)
        SELECT e.bucket, e.record, e.tenant, 'device', e.happened, upper(encode(e.eid, 'hex')), e.told FROM ended e
    ), turned AS (
        UPDATE profiles p SET state = u.state, fallback = u.fallback, changed_at = now()
          FROM unnest($18::smallint[], $19::bytea[], $20::bytea[], $21::text[], $22::boolean[])
               AS u (bucket, eid, iccid, state, fallback)
         WHERE p.bucket = u.bucket AND p.eid = u.eid AND p.iccid = u.iccid
    )
    SELECT count(*) AS many,
           array_agg(e.id) FILTER (WHERE (SELECT true FROM operations o
                                           WHERE o.bucket = e.bucket AND o.after = e.id LIMIT 1)) AS followed,
           bool_or((SELECT true FROM operations o
                     WHERE o.bucket = e.bucket AND o.eid = e.eid AND o.state = 'accepted'
                       AND coalesce(o.held, '') = '' LIMIT 1)
                   OR (SELECT true FROM requests r WHERE r.bucket = e.bucket AND r.eid = e.eid LIMIT 1)) AS more
      FROM ended e
"""
# The words of the columns; to call an enumeration takes five times as long.
_FORMS: Final = {form.value: form for form in SignatureForm}
_SPEAKS: Final[Mapping[str | None, Speaks | None]] = {None: None} | {speaks.value: speaks for speaks in Speaks}
_KINDS: Final = {kind.value: kind for kind in Kind}
_STATES: Final = {state.value: state for state in ProfileState}
_DRAWN: Final = 3  # ids for each: of the result, the event, the audit record
_GONE: Final = """
    DELETE FROM profiles p USING unnest($1::smallint[], $2::bytea[], $3::bytea[]) AS u (bucket, eid, iccid)
     WHERE p.bucket = u.bucket AND p.eid = u.eid AND p.iccid = u.iccid
"""
_CHANGED: Final = """
    INSERT INTO profiles (bucket, eid, tenant, iccid, state, isdp_aid, nickname, service_provider, name, profile_class,
                          fallback, ppr, fallback_allowed)
    SELECT u.* FROM unnest($1::smallint[], $2::bytea[], $3::smallint[], $4::bytea[], $5::text[], $6::bytea[],
                           $7::text[], $8::text[], $9::text[], $10::smallint[], $11::boolean[], $12::bytea[],
                           $13::boolean[])
                    AS u (bucket, eid, tenant, iccid, state, isdp_aid, nickname, service_provider, name, profile_class,
                          fallback, ppr, fallback_allowed)
    ON CONFLICT (bucket, eid, iccid) DO UPDATE
       SET state = excluded.state, isdp_aid = excluded.isdp_aid, nickname = excluded.nickname,
           service_provider = excluded.service_provider, name = excluded.name,
           profile_class = excluded.profile_class, fallback = excluded.fallback, ppr = excluded.ppr,
           fallback_allowed = excluded.fallback_allowed, changed_at = now()
"""
_HINT: Final = """
    SELECT pg_notify('eim_work', u.bucket || ':' || encode(u.eid, 'hex'))
      FROM unnest($1::smallint[], $2::bytea[]) AS u (bucket, eid)
     WHERE (SELECT true FROM operations o
             WHERE o.bucket = u.bucket AND o.eid = u.eid AND o.state = 'accepted'
               AND coalesce(o.held, '') = '' LIMIT 1)
        OR (SELECT true FROM requests r WHERE r.bucket = u.bucket AND r.eid = u.eid LIMIT 1)
"""


class Name(msgspec.Struct, frozen=True):
    """What a result says that it answers."""

    bucket: Bucket
    eid: Eid | None  # None: its transaction alone says whose it is
    transaction: TransactionId
    counter: int


class Found(msgspec.Struct, frozen=True):
    """A card as it was read, not locked, and the package that is out with it."""

    eid: Eid
    tenant: TenantId
    eim_id: str
    association_token: int | None
    signature_form: SignatureForm
    curve: str
    public_key: bytes
    highest_seq: int | None
    speaks: Speaks | None
    listed: bool  # its profiles are known
    package: Package
    asked: Asked  # the operation that the package carries


class Claim(msgspec.Struct, frozen=True):
    """A card that was read, to be locked as long as it is the same, and what its row then says."""

    bucket: Bucket
    found: Found
    seq_number: int | None  # None: the card gave none, and its row stays as it is
    lists: bool  # it has just listed all its profiles
    settings: Mapping[str, object] | None  # these are so now; None: none is news


class Written(msgspec.Struct, frozen=True):
    """What follows from what was written."""

    followed: Sequence[tuple[Bucket, UUID, State]]  # the operations after which others come
    more: bool  # there is something to be done for some of the cards


class Settled(msgspec.Struct, frozen=True):
    """One result with its effect, to be written."""

    bucket: Bucket
    eid: Eid
    tenant: TenantId
    stored: Stored
    number: int  # of the package that it answers
    operation: UUID
    ending: Ending
    turned: tuple[Profile, ...]  # as they are now: those of which only state or fallback attribute were otherwise
    changed: tuple[Profile, ...]  # .. and those that were not known, or otherwise
    gone: tuple[Iccid, ...]


async def find(db: Db, names: Sequence[Name]) -> list[Found | None]:
    """What each answers; None where it is not plain. Nothing is locked."""
    found: list[Found | None] = [None] * len(names)
    columns = ([n.bucket for n in names], [n.eid for n in names], [n.transaction for n in names])
    for row in await db.fetch(_FIND, *columns, [n.counter for n in names]):
        found[row["n"] - 1] = _found(row)
    return found


async def lock(db: Db, claims: Sequence[Claim]) -> list[int]:
    """Lock these cards until the transaction ends: the places of those that are as they were read. Give each card
    once, in the order of (bucket, EID)."""
    rows = await db.fetch(
        _LOCK,
        [c.bucket for c in claims],
        [c.found.eid for c in claims],
        [c.seq_number for c in claims],
        [c.found.highest_seq for c in claims],
        [c.found.association_token for c in claims],
        [c.found.public_key for c in claims],
        [c.found.speaks and c.found.speaks.value for c in claims],
        [c.found.listed for c in claims],
        [c.lists for c in claims],
        [c.settings for c in claims],
    )
    return sorted(row["n"] - 1 for row in rows)


async def profiles(db: Db, cards: Sequence[tuple[Bucket, Eid]]) -> dict[Eid, list[Profile]]:
    """What we know of their profiles, by ICCID. Lock the cards before."""
    known: dict[Eid, list[Profile]] = {eid: [] for _, eid in cards}
    for row in await db.fetch(_PROFILES, [bucket for bucket, _ in cards], [eid for _, eid in cards]):
        eid, iccid, state, *rest = row
        known[eid].append(Profile(iccid, _STATES[state], *rest))
    return known


async def doubtful(db: Db, cards: Sequence[tuple[Bucket, Eid]]) -> set[Eid]:
    """Those of `cards` of which an operation is in doubt. Lock them before."""
    rows = await db.fetch(_DOUBTFUL, [bucket for bucket, _ in cards], [eid for _, eid in cards])
    return {row["eid"] for row in rows}


async def write(db: Db, settled: Sequence[Settled]) -> Written:
    """Write all that these results change, under the locks of their cards.

    Raises Contended when one of them is not what it was when its card was read: then nothing of it may last.
    """
    buckets = [s.bucket for s in settled]
    await db.execute(_RESOLVE, buckets, [s.eid for s in settled], [s.number for s in settled])
    ended = await _end(db, settled, buckets)
    await _write_profiles(db, settled)
    after = set(ended["followed"] or ())
    followed = [(s.bucket, s.operation, s.ending.state) for s in settled if s.operation in after] if after else []
    return Written(followed, ended["more"] is True)


async def hint(db: Db, cards: Sequence[tuple[Bucket, Eid]]) -> None:
    """Wake the workers, when this transaction commits, for those of `cards` that have something to be done."""
    await db.execute(_HINT, [bucket for bucket, _ in cards], [eid for _, eid in cards])


async def _end(db: Db, settled: Sequence[Settled], buckets: Sequence[Bucket]) -> Record:
    rows = [s.stored for s in settled]
    columns = (
        [s.operation for s in settled],
        [s.ending.state.value for s in settled],
        [s.ending.outcome for s in settled],
        [s.ending.told for s in settled],
        [r.digest for r in rows],
        [r.octets for r in rows],
        [r.kind for r in rows],
        [r.transaction for r in rows],
        [r.counter for r in rows],
        [r.seq_number for r in rows],
        [r.verdict for r in rows],
        [r.form for r in rows],
        [r.coding for r in rows],
        *(draw(buckets) for _ in range(_DRAWN)),
        *_turned(settled),
    )
    try:
        ended = await db.fetchrow(_END, buckets, *columns)
    except UniqueViolationError as error:
        raise Contended("a result is here already") from error
    if ended is None or ended["many"] != len(settled):
        raise Contended("an operation is not out any more")
    return ended


def _turned(settled: Sequence[Settled]) -> Sequence[Sequence[object]]:
    turned = [(s.bucket, s.eid, p.iccid, p.state.value, p.fallback) for s in settled for p in s.turned]
    return list(zip(*turned, strict=True)) or [()] * 5


async def _write_profiles(db: Db, settled: Sequence[Settled]) -> None:
    gone = [(s.bucket, s.eid, iccid) for s in settled for iccid in s.gone]
    if gone:
        await db.execute(_GONE, *(list(column) for column in zip(*gone, strict=True)))
    rows = [(s.bucket, s.eid, s.tenant, *_columns(profile)) for s in settled for profile in s.changed]
    if rows:
        await db.execute(_CHANGED, *(list(column) for column in zip(*rows, strict=True)))


def _columns(profile: Profile) -> tuple[object, ...]:
    iccid, state, *rest = msgspec.structs.astuple(profile)
    return (iccid, state.value, *rest)


def _found(row: Record) -> Found:
    """One row of `_FIND`, by place: by names it takes half as long again."""
    asked = _asked(row)
    eid, tenant, eim_id, association_token, form, curve, public_key, highest_seq, speaks, listed = row[1:11]
    number, operation, counter, transaction, token, spoken, sealed, state, key_number = row[11:20]
    package = Package(number, operation, counter, transaction, token, spoken, sealed, state, key_number, asked)
    return Found(
        eid,
        tenant,
        eim_id,
        association_token,
        _FORMS[form],
        curve,
        public_key,
        highest_seq,
        _SPEAKS[speaks],
        listed,
        package,
        asked,
    )


def _asked(row: Record) -> Asked:
    operation, kind, iccid, rollback, details, *rest = row[20:]
    worded = msgspec.convert(details, Details) if details is not None else None
    return Asked(operation, _KINDS[kind], iccid, rollback, worded, State.OUT, *rest)
