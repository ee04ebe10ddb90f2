"""Our side of one eUICC's association: table `euiccs`, as polls, results and the worker read and write it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
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
           coalesce(e.traced_until > now() AND e.trace_left > 0, false) AS traced
      FROM euiccs e JOIN identities i ON i.id = e.identity
     WHERE e.bucket = $1 AND e.eid = $2
       FOR UPDATE OF e
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
                      association_token = CASE WHEN $5 THEN $6 ELSE association_token END
     WHERE bucket = $1 AND eid = $2
"""
_SPEAKS: Final = "UPDATE euiccs SET speaks = $3 WHERE bucket = $1 AND eid = $2 AND speaks IS DISTINCT FROM $3"
_SEQ: Final = """
    UPDATE euiccs SET highest_seq = $3 WHERE bucket = $1 AND eid = $2 AND (highest_seq IS NULL OR highest_seq < $3)
"""
_PLMN: Final = "UPDATE euiccs SET plmn = $3 WHERE bucket = $1 AND eid = $2"
_SEEN: Final = """
    UPDATE euiccs e SET last_seen_at = u.at
      FROM unnest($1::smallint[], $2::bytea[], $3::timestamptz[]) AS u (bucket, eid, at)
     WHERE e.bucket = u.bucket AND e.eid = u.eid AND (e.last_seen_at IS NULL OR e.last_seen_at < u.at)
"""
# Counter and package number are allocated here, under the row's lock, in the transaction that stores the octets.
_ALLOCATE: Final = """
    UPDATE euiccs e SET counter = e.counter + u.signed, packages = e.packages + u.total
      FROM unnest($1::smallint[], $2::bytea[], $3::integer[], $4::integer[]) AS u (bucket, eid, signed, total)
      JOIN identities i ON true
     WHERE e.bucket = u.bucket AND e.eid = u.eid AND i.id = e.identity AND e.counter + u.signed <= 8388607
 RETURNING e.bucket, e.eid, e.tenant, e.identity, e.counter - u.signed AS counter, e.packages - u.total AS number,
           e.association_token, e.speaks, i.eim_id, i.key_name
"""


_JUMP: Final = """
    UPDATE euiccs SET counter = least(counter + $3, 8388607) WHERE bucket = $1 AND eid = $2 RETURNING counter
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


async def lock(db: Db, bucket: Bucket, eid: Eid) -> Card | None:
    """The eUICC's row, locked until the transaction ends; None when nobody onboarded it."""
    row = await db.fetchrow(_LOCK, bucket, eid)
    return msgspec.convert(dict(row), Card) if row else None


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


async def raise_seq(db: Db, bucket: Bucket, eid: Eid, seq_number: int) -> None:
    """The card's own count, as far as we saw it."""
    await db.execute(_SEQ, bucket, eid, seq_number)


async def moved_to_plmn(db: Db, bucket: Bucket, eid: Eid, plmn: bytes) -> None:
    """The network it last registered with: 3 octets as in TS 24.008."""
    await db.execute(_PLMN, bucket, eid, plmn)


async def seen(db: Db, seen_at: Sequence[tuple[Bucket, Eid, datetime]]) -> None:
    """Write many last-seen times at once, in the order of the keys so that two writers can't lock each other out."""
    rows = sorted(seen_at)
    await db.execute(_SEEN, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


async def allocate(db: Db, wanted: Sequence[tuple[Bucket, Eid, int, int]]) -> list[Allocated]:
    """Take counters and package numbers for (bucket, eid, signed packages, packages).

    An eUICC whose counter would pass its ceiling is left out (SGP.32 section 2.11.1.1).
    """
    rows = sorted(wanted)
    found = await db.fetch(
        _ALLOCATE, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], [r[3] for r in rows]
    )
    return [msgspec.convert(dict(row), Allocated) for row in found]


async def jump(db: Db, bucket: Bucket, eid: Eid, margin: int) -> int:
    """Pass over `margin` counters: the card is ahead of us. The new last one; gaps are harmless."""
    return int(await db.fetchval(_JUMP, bucket, eid, margin))
