"""Our side of one eUICC's association: table `euiccs`, as polls, results and the worker read and write it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.ids import Bucket, Eid, IdentityId, TenantId
from eim.store import Db

_LOCK: Final = """
    SELECT e.tenant, e.identity, e.introduced_at, e.association_token, e.token_proven, e.speaks, e.signature_form,
           e.signature_coding, e.unverifiable, e.euicc_certificate, e.curve, e.public_key, e.highest_seq,
           e.inventory_at, i.eim_id, e.ci_key_id, e.capabilities, e.reported_cause, e.reset_at, e.ecall_since,
           e.ecall_answers, e.orphaned_at, e.quarantined_at, e.denied_by,
           e.former_token, e.token_on_trial, e.key_number, e.next_key, e.trial_key, e.counter, e.resyncs, e.stalled,
           coalesce(e.traced_until > now() AND e.trace_left > 0, false) AS traced
      FROM euiccs e JOIN identities i ON i.id = e.identity
     WHERE e.bucket = $1 AND e.eid = $2
       FOR UPDATE OF e
"""
# One after the other as they were given, however they are found: who locks many never waits for who waits for him.
_HOLD: Final = """
    SELECT count(*)
      FROM (SELECT 1
              FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS u (bucket, eid, place)
              JOIN euiccs e ON e.bucket = u.bucket AND e.eid = u.eid
             ORDER BY u.place
               FOR NO KEY UPDATE OF e) AS held
"""
_INTRODUCE: Final = """
    UPDATE euiccs SET introduced_at = coalesce(introduced_at, now()), association_token = $3, speaks = $4,
                      capabilities = capabilities || $5
     WHERE bucket = $1 AND eid = $2
"""
_CERTIFY: Final = """
    UPDATE euiccs SET euicc_certificate = $3, eum_certificate = $4, curve = $5, public_key = $6, ci_key_id = $7
     WHERE bucket = $1 AND eid = $2
"""
_PIN: Final = """
    UPDATE euiccs SET signature_form = $3, signature_coding = $4, token_proven = true,
                      association_token = CASE WHEN $5 THEN $6 ELSE association_token END,
                      former_token = NULL, token_on_trial = false
     WHERE bucket = $1 AND eid = $2
"""
# The token before is kept until a signature has proven the other one: what is reported may be anybody's word.
_TRY_TOKEN: Final = """
    UPDATE euiccs SET former_token = CASE WHEN token_on_trial THEN former_token ELSE association_token END,
                      token_on_trial = true, association_token = $3
     WHERE bucket = $1 AND eid = $2
"""
_FORMER_TOKEN: Final = """
    UPDATE euiccs SET association_token = former_token, former_token = NULL, token_on_trial = false
     WHERE bucket = $1 AND eid = $2 AND token_on_trial
"""
_SPEAKS: Final = "UPDATE euiccs SET speaks = $3 WHERE bucket = $1 AND eid = $2 AND speaks IS DISTINCT FROM $3"
_LIST_PLAINLY: Final = """
    UPDATE euiccs SET plain_lists = true WHERE bucket = $1 AND eid = $2 AND NOT plain_lists RETURNING true
"""
_SEQ: Final = """
    UPDATE euiccs SET highest_seq = $3 WHERE bucket = $1 AND eid = $2 AND (highest_seq IS NULL OR highest_seq < $3)
"""
_PLMN: Final = "UPDATE euiccs SET plmn = $3 WHERE bucket = $1 AND eid = $2"
_SEEN: Final = """
    UPDATE euiccs e SET last_seen_at = u.at, seen_on = (u.at AT TIME ZONE 'UTC')::date
      FROM unnest($1::smallint[], $2::bytea[], $3::timestamptz[]) AS u (bucket, eid, at)
     WHERE e.bucket = u.bucket AND e.eid = u.eid AND (e.last_seen_at IS NULL OR e.last_seen_at < u.at - $4::interval)
"""
# Counter and package number are allocated here, under the row's lock, in the transaction that stores the octets.
# While it is not known which of two keys a card obeys, the one on trial signs; where a new count begins with the new
# key, that is then the one that rises.
_ALLOCATE: Final = """
    UPDATE euiccs e
       SET packages = e.packages + u.total,
           counter = e.counter
             + CASE WHEN e.trial_key = e.next_key AND e.next_counter IS NOT NULL THEN 0 ELSE u.signed END,
           next_counter = e.next_counter + CASE WHEN e.trial_key = e.next_key THEN u.signed ELSE 0 END
      FROM unnest($1::smallint[], $2::bytea[], $3::integer[], $4::integer[], $5::integer[])
        AS u (bucket, eid, signed, total, most),
           identities i
     WHERE e.bucket = u.bucket AND e.eid = u.eid AND i.id = e.identity AND e.counter + u.signed <= u.most
 RETURNING e.bucket, e.eid, e.tenant, e.identity, i.eim_id,
           CASE WHEN coalesce(e.trial_key, e.key_number) = 0 THEN i.key_name
                ELSE (SELECT n.key_name FROM identity_keys n
                       WHERE n.identity = e.identity AND n.number = coalesce(e.trial_key, e.key_number)) END
             AS key_name,
           e.association_token, e.speaks,
           e.packages - u.total AS number, coalesce(e.trial_key, e.key_number) AS key_number,
           CASE WHEN e.trial_key = e.next_key AND e.next_counter IS NOT NULL THEN e.next_counter ELSE e.counter END
             - u.signed AS counter,
           e.association + CASE WHEN e.trial_key = e.next_key AND e.next_counter IS NOT NULL THEN 1 ELSE 0 END
             AS association,
           e.counter >= 7549746 AND e.counter_alarmed_at IS NULL AS alarming,
           e.next_counter, e.plain_lists,
           CASE WHEN e.next_key IS NOT NULL
                THEN (SELECT s.public_key FROM identity_keys s WHERE s.identity = e.identity AND s.number = e.next_key)
             END AS next_public_key
"""
_ALARMED: Final = "UPDATE euiccs SET counter_alarmed_at = now() WHERE bucket = $1 AND eid = $2"
_MOVE_COUNTER: Final = """
    UPDATE euiccs SET counter = $3, resyncs = resyncs + 1 WHERE bucket = $1 AND eid = $2
"""
_IN_STEP: Final = "UPDATE euiccs SET resyncs = 0 WHERE bucket = $1 AND eid = $2 AND resyncs <> 0"
_STALL: Final = """
    UPDATE euiccs SET stalled = $3, stalled_at = now() WHERE bucket = $1 AND eid = $2 AND stalled IS DISTINCT FROM $3
 RETURNING tenant
"""
_TURN_KEY: Final = "SELECT turn_key($1, $2, $3)"
_KEEP_KEY: Final = "SELECT keep_key($1, $2)"
_TRY_KEY: Final = """
    UPDATE euiccs SET trial_key = CASE WHEN trial_key = next_key THEN key_number ELSE next_key END,
                      resyncs = resyncs + 1
     WHERE bucket = $1 AND eid = $2 AND next_key IS NOT NULL
 RETURNING trial_key
"""
_RENEWING: Final = """
    UPDATE euiccs SET next_key = $3, next_counter = $4, trial_key = NULL WHERE bucket = $1 AND eid = $2
"""
_NEWEST_KEY: Final = "SELECT max(number) FROM identity_keys WHERE identity = $1"
_HIGHEST_ACCEPTED: Final = """
    SELECT coalesce(max(p.counter), 0)
      FROM euiccs e
      JOIN packages p ON p.bucket = e.bucket AND p.eid = e.eid AND p.association = e.association
      JOIN results r ON r.bucket = p.bucket AND r.eid = p.eid AND r.operation = p.operation AND r.counter = p.counter
     WHERE e.bucket = $1 AND e.eid = $2 AND r.kind = 'result' AND r.verdict IN ('verified', 'unverifiable')
"""


class Card(msgspec.Struct, frozen=True):
    """One eUICC under its row's lock."""

    tenant: TenantId
    identity: IdentityId
    eim_id: str
    introduced_at: datetime | None
    association_token: int | None
    token_proven: bool
    speaks: Speaks | None
    signature_form: SignatureForm | None
    signature_coding: SignatureCoding | None
    unverifiable: bool
    euicc_certificate: bytes | None
    curve: str | None
    public_key: bytes | None
    highest_seq: int | None
    inventory_at: datetime | None  # None: its profiles are not known yet
    former_token: int | None  # while one is on trial: the one before
    token_on_trial: bool  # it was reported, and no signature has proven it yet
    key_number: int  # of our identity: the key that the card obeys
    next_key: int | None  # the one that our last updateEim gives it
    trial_key: int | None  # which of both is tried, while that is in doubt
    counter: int
    resyncs: int  # tries to meet the card's counter since it took one
    stalled: str | None  # why nothing is signed for it
    traced: bool  # an operator wants to see what it says and is told
    ci_key_id: bytes | None = None
    capabilities: Mapping[str, object] = {}
    reported_cause: int | None = None  # a change that the next inventory is to explain
    reset_at: datetime | None = None  # a memory reset was reported, and it signed nothing since
    ecall_since: datetime | None = None
    ecall_answers: int = 0
    orphaned_at: datetime | None = None
    quarantined_at: datetime | None = None
    denied_by: UUID | None = None

    @property
    def barred(self) -> bool:
        """Whether nothing goes out to it."""
        return not (self.orphaned_at is None and self.quarantined_at is None and self.denied_by is None)


class Allocated(msgspec.Struct, frozen=True):
    """What one eUICC's next packages are sealed with: counters and numbers rise from these, exclusive."""

    bucket: Bucket
    eid: Eid
    tenant: TenantId
    identity: IdentityId
    eim_id: str
    key_name: str
    counter: int
    number: int
    association_token: int | None
    speaks: Speaks | None
    key_number: int
    association: int  # whose count the counters belong to
    alarming: bool  # for the first time above 90 % of the ceiling
    next_counter: int | None  # where the count begins that an updateEim brings; None: this one goes on
    next_public_key: bytes | None  # SubjectPublicKeyInfo that an updateEim brings
    plain_lists: bool = False  # it refused a listing that names tags: it gets the plain form


class Wanted(msgspec.Struct, frozen=True, order=True):
    """How many counters and package numbers one eUICC's next packages need."""

    bucket: Bucket
    eid: Eid
    signed: int
    packages: int
    most: int  # no counter above this


async def lock(db: Db, bucket: Bucket, eid: Eid) -> Card | None:
    """The eUICC's row, locked until the transaction ends; None when nobody onboarded it."""
    row = await db.fetchrow(_LOCK, bucket, eid)
    return msgspec.convert(dict(row), Card) if row else None


async def hold(db: Db, cards: Sequence[tuple[Bucket, Eid]]) -> None:
    """Lock these eUICCs' rows until the transaction ends. Give them in the order of their keys."""
    await db.execute(_HOLD, [bucket for bucket, _ in cards], [eid for _, eid in cards])


async def introduce(
    db: Db, bucket: Bucket, eid: Eid, token: int | None, speaks: Speaks | None, capabilities: dict[str, object]
) -> None:
    """The card answered a data request: signed packages may be made for it from now on."""
    await db.execute(_INTRODUCE, bucket, eid, token, speaks.value if speaks else None, capabilities)


async def certify(
    db: Db,
    bucket: Bucket,
    eid: Eid,
    certificates: tuple[bytes, bytes],
    key: tuple[str, bytes],
    ci_key_id: bytes,
) -> None:
    """Record a checked chain: (eUICC, EUM) certificates as DER, key as (curve, point of 65 octets), the root's SKI."""
    await db.execute(_CERTIFY, bucket, eid, *certificates, *key, ci_key_id)


async def pin(
    db: Db, bucket: Bucket, eid: Eid, form: SignatureForm, coding: SignatureCoding, token: int | None
) -> None:
    """A signed result verified in this form: only this one is accepted from now on."""
    await db.execute(_PIN, bucket, eid, form.value, coding.value, form is SignatureForm.TOKEN, token)


async def learn_speaks(db: Db, bucket: Bucket, eid: Eid, speaks: Speaks) -> None:
    """What the device was seen to speak."""
    await db.execute(_SPEAKS, bucket, eid, speaks.value)


async def list_plainly(db: Db, bucket: Bucket, eid: Eid) -> bool:
    """Its listings name no tags from now on; False when that is so already."""
    return await db.fetchval(_LIST_PLAINLY, bucket, eid) is not None


async def raise_seq(db: Db, bucket: Bucket, eid: Eid, seq_number: int) -> None:
    """The card's own count, as far as we saw it."""
    await db.execute(_SEQ, bucket, eid, seq_number)


async def moved_to_plmn(db: Db, bucket: Bucket, eid: Eid, plmn: bytes) -> None:
    """The network it last registered with: 3 octets as in TS 24.008."""
    await db.execute(_PLMN, bucket, eid, plmn)


async def seen(db: Db, seen_at: Sequence[tuple[Bucket, Eid, datetime]], stale_after: timedelta) -> None:
    """Write many last-seen times at once, in the order of the keys so that two writers can't lock each other out.

    stale_after  what is there and not older than this is left alone
    """
    rows = sorted(seen_at)
    await db.execute(_SEEN, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], stale_after)


async def try_token(db: Db, bucket: Bucket, eid: Eid, token: int | None) -> None:
    """Sign with a token that was reported, beside the proven one, until a signature of the card shows which holds."""
    await db.execute(_TRY_TOKEN, bucket, eid, token)


async def return_to_former_token(db: Db, bucket: Bucket, eid: Eid) -> None:
    """The trial was in vain, or the former one is reported again."""
    await db.execute(_FORMER_TOKEN, bucket, eid)


async def allocate(db: Db, wanted: Sequence[Wanted]) -> list[Allocated]:
    """Take counters and package numbers. An eUICC whose counter would pass its `most` is left out."""
    rows = sorted(wanted)
    found = await db.fetch(
        _ALLOCATE,
        [r.bucket for r in rows],
        [r.eid for r in rows],
        [r.signed for r in rows],
        [r.packages for r in rows],
        [r.most for r in rows],
    )
    return [msgspec.convert(dict(row), Allocated) for row in found]


async def alarmed(db: Db, bucket: Bucket, eid: Eid) -> None:
    """It was said that its counter is high; once for each association."""
    await db.execute(_ALARMED, bucket, eid)


async def move_counter(db: Db, bucket: Bucket, eid: Eid, counter: int) -> None:
    """Go on from `counter` to meet the card's: one more try. Gaps are harmless."""
    await db.execute(_MOVE_COUNTER, bucket, eid, counter)


async def in_step(db: Db, bucket: Bucket, eid: Eid) -> None:
    """The card took a counter of ours: tries are counted anew."""
    await db.execute(_IN_STEP, bucket, eid)


async def highest_accepted(db: Db, bucket: Bucket, eid: Eid) -> int:
    """The highest counter of this association that the card has signed for; 0 when there is none."""
    return int(await db.fetchval(_HIGHEST_ACCEPTED, bucket, eid))


async def stall(db: Db, bucket: Bucket, eid: Eid, why: str) -> bool:
    """Sign nothing for it until an operator has done something; False when that is so already."""
    return await db.fetchval(_STALL, bucket, eid, why) is not None


async def newest_key(db: Db, identity: IdentityId) -> int:
    """The number of the identity's newest key; 0: its first."""
    return int(await db.fetchval(_NEWEST_KEY, identity) or 0)


async def renewing(db: Db, bucket: Bucket, eid: Eid, key: int, counter: int | None) -> None:
    """An updateEim is to give it the key `key`, and a count that begins at `counter` (None: the old one goes on)."""
    await db.execute(_RENEWING, bucket, eid, key, counter)


async def try_key(db: Db, bucket: Bucket, eid: Eid) -> int | None:
    """Of the two keys that the card may obey, sign with the other than last; its number. The new one comes first."""
    tried = await db.fetchval(_TRY_KEY, bucket, eid)
    return int(tried) if tried is not None else None


async def turn_key(db: Db, bucket: Bucket, eid: Eid, key: int) -> bool:
    """The card obeys `key` from now on; False when no updateEim of ours was to give it that one."""
    return bool(await db.fetchval(_TURN_KEY, bucket, eid, key))


async def keep_key(db: Db, bucket: Bucket, eid: Eid) -> bool:
    """The card still obeys the key it had; False when no other was under way."""
    return bool(await db.fetchval(_KEEP_KEY, bucket, eid))
