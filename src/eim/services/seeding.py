"""Seeding: what the eIM otherwise learns or makes itself is put there by hand (docs/replay.md).

For conformance suites and replays, whose packages another eIM sealed, and for adopting a device of another eIM.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import EuiccPackageRequest, IpaEuiccDataRequest
from eim.domain.euicc import Speaks
from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, Iccid, TransactionId, bucket_in_transaction, bucket_of, format_eid, with_bucket
from eim.domain.operation import OF_A_PROFILE, SIGNED, Kind
from eim.domain.step import Compact, compact
from eim.errors import Conflict, InvalidRequest, Malformed
from eim.protocol.ecdsa import PublicKey
from eim.protocol.steps import steps_in
from eim.protocol.trust import TrustedEuicc
from eim.services.onboarding import CheckCertificates
from eim.services.tokens import Caller
from eim.store import Db, associations, audit, euiccs, events, mailbox, packages, requests, seeds
from eim.store.associations import Card
from eim.store.connect import Pool, transaction
from eim.store.euiccs import Identity, Newcomer
from eim.store.seeds import Head

_HIGHEST_COUNTER: Final = 8_388_607
_PACKAGE: Final = 0xBF51
_DATA_REQUEST: Final = 0xBF52
_ANSWER: Final = 0xBF4F


class Out(msgspec.Struct, frozen=True):
    """A package that is out with the device, as somebody sealed it."""

    octets: bytes  # a BF51 or BF52 TLV, or the BF4F that holds one
    kind: Kind | None = None  # None: what the package says
    iccid: Iccid | None = None  # None: the package's


class Seed(msgspec.Struct, frozen=True):
    """What is to be known of one eUICC. What is left out stays as it is."""

    eid: Eid
    identity: str | None = None  # an eimId; None: the package's, or the tenant's only one
    certificates: tuple[bytes, bytes] | None = None  # of the eUICC and of its EUM, DER
    public_key: PublicKey | None = None  # believed without a certificate
    association_token: int | UnsetType | None = UNSET  # None: known to have none
    counter: int | None = None  # the last one used
    speaks: Speaks | None = None
    unverifiable: bool = False  # True: from now on
    out: Out | None = None


class Seeded(msgspec.Struct, frozen=True):
    new: bool  # whether nobody had onboarded it
    operation: UUID | None  # what the package's result will end


class _Sealed(msgspec.Struct, frozen=True):
    """What a sealed package says of itself."""

    octets: bytes
    what: Compact
    eid: Eid | None = None
    eim_id: str | None = None
    counter: int | None = None
    transaction: TransactionId | None = None


class Seeding:
    """Writes seeds. Holds the owner's pool: no role of the server may do this, so no request can."""

    def __init__(self, pool: Pool, check_certificates: CheckCertificates) -> None:
        self._pool = pool
        self._check_certificates = check_certificates

    async def seed(self, caller: Caller, seed: Seed) -> Seeded:
        """Write one seed, all of it or nothing. The same again changes nothing.

        Raises InvalidRequest, UntrustedCertificate, or Conflict: the eUICC is another tenant's or another identity's,
        has another key, has used a higher counter, or has something else out.
        """
        sealed = _read(seed.out) if seed.out else None
        if sealed is not None and sealed.eid not in (None, seed.eid):
            raise InvalidRequest(f"the package is for EID {format_eid(sealed.eid or seed.eid)}, not for this one")
        trusted = self._trusted(seed)
        async with transaction(self._pool) as db:
            known = await euiccs.identities(db, caller.tenant)
            identity = _identity(known, seed.identity, sealed.eim_id if sealed else None)
            bucket = bucket_of(seed.eid)
            new = bool(await euiccs.insert(db, caller.tenant, [_newcomer(bucket, seed, identity)]))
            card = await _lock(db, caller, bucket, seed.eid, identity)
            await _prove(db, bucket, seed, card, trusted)
            await _associate(db, bucket, seed)
            operation = await _put_out(db, caller, bucket, seed, sealed) if sealed else None
            await _record(db, caller, bucket, seed, new=new)
        return Seeded(new, operation)

    def _trusted(self, seed: Seed) -> TrustedEuicc | None:
        if seed.certificates is None:
            return None
        if seed.public_key is not None:
            raise InvalidRequest("a key comes with its certificates or without: give one of the two")
        trusted = self._check_certificates(*seed.certificates)
        if trusted.eid != seed.eid:
            raise InvalidRequest(f"the certificate is of EID {format_eid(trusted.eid)}, not of this one")
        return trusted


def _read(out: Out) -> _Sealed:
    """What the package says, and what its operator says of it."""
    try:
        octets = _unwrapped(out.octets)
        tag, *_ = der.read_one(octets)
        if tag == _PACKAGE:
            return _signed(octets, sgp32.decode(EuiccPackageRequest, octets), out)
        if tag == _DATA_REQUEST and out.kind in (None, Kind.DATA_REQUEST):
            asked = sgp32.decode(IpaEuiccDataRequest, octets)
            named = TransactionId(asked.transaction_id) if asked.transaction_id else None
            return _Sealed(octets, Compact(Kind.DATA_REQUEST), transaction=named)
    except Malformed as error:
        raise InvalidRequest(f"these octets are no package: {error}") from error
    raise InvalidRequest(f"tag {tag:X} is no package for this operation: give a BF51 or BF52, or the BF4F around it")


def _unwrapped(octets: bytes) -> bytes:
    tag, *_ = node = der.read_one(octets)
    if tag != _ANSWER:
        return octets
    held = der.inside(octets, node)
    return der.whole(octets, held[0]) if len(held) == 1 else b""


def _signed(octets: bytes, request: EuiccPackageRequest, out: Out) -> _Sealed:
    package = request.package
    asked = steps_in(package.package)
    if not asked:
        raise InvalidRequest("the package asks for nothing")
    what = _judged(compact(asked), out)
    named = TransactionId(package.transaction_id) if package.transaction_id else None
    return _Sealed(octets, what, Eid(package.eid), package.eim_id, package.counter, named)


def _judged(said: Compact, out: Out) -> Compact:
    """What the package holds, or what its operator says that it is to be judged as."""
    if (out.kind or said.kind) is said.kind and (out.iccid or said.iccid) == said.iccid:
        return said
    kind, iccid = out.kind or said.kind, out.iccid or said.iccid
    if kind not in SIGNED:
        raise InvalidRequest(f"a signed package is no {kind.value}")
    if kind in OF_A_PROFILE and iccid is None:
        raise InvalidRequest(f"say which profile is meant: {kind.value} needs an ICCID")
    return Compact(kind, iccid)


def _identity(known: Sequence[Identity], wanted: str | None, sealed_for: str | None) -> Identity:
    if wanted is not None and sealed_for not in (None, wanted):
        raise InvalidRequest(f"the package is signed as eimId {sealed_for}, not as {wanted}")
    eim_id = wanted or sealed_for
    found = [identity for identity in known if eim_id in (None, identity.eim_id)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(identity.eim_id for identity in known) or "none yet: `eim serve` or `eim migrate` registers it"
    raise InvalidRequest(f"which identity? {f'{eim_id} is none of ours' if eim_id else 'name one'} (there is {names})")


def _newcomer(bucket: Bucket, seed: Seed, identity: Identity) -> Newcomer:
    return Newcomer(
        bucket=bucket,
        eid=seed.eid,
        identity=identity.id,
        label=None,
        tags=(),
        introduced=False,
        counter=identity.initial_counter,
        token=None,
        unverifiable=False,
        euicc_certificate=None,
        eum_certificate=None,
        curve=None,
        public_key=None,
        ci_key_id=None,
    )


async def _lock(db: Db, caller: Caller, bucket: Bucket, eid: Eid, identity: Identity) -> Card:
    card = await associations.lock(db, bucket, eid)
    if card is None or card.tenant != caller.tenant:
        raise Conflict(f"EID {format_eid(eid)} can't be seeded: it is another tenant's")
    if card.eim_id != identity.eim_id:
        raise Conflict(f"EID {format_eid(eid)} can't be seeded: it is associated with eimId {card.eim_id}")
    return card


async def _prove(db: Db, bucket: Bucket, seed: Seed, card: Card, trusted: TrustedEuicc | None) -> None:
    key = trusted.public_key if trusted else seed.public_key
    if key is None:
        return
    if card.public_key not in (None, key.point):
        raise Conflict(f"EID {format_eid(seed.eid)} is known with another key: a card never changes its own")
    if trusted is not None and seed.certificates is not None:
        known = (key.curve.value, key.point)
        await associations.certify(db, bucket, seed.eid, seed.certificates, known, trusted.ci_key_id)
    else:
        await seeds.believe(db, bucket, seed.eid, key.curve.value, key.point)


async def _associate(db: Db, bucket: Bucket, seed: Seed) -> None:
    if seed.counter is not None:
        if not 0 <= seed.counter <= _HIGHEST_COUNTER:
            raise InvalidRequest(f"a counter is 0 to {_HIGHEST_COUNTER}")
        if not await seeds.count(db, bucket, seed.eid, seed.counter):
            raise Conflict("a higher counter was used with it already: counters never fall")
    if seed.association_token is not UNSET:
        await seeds.know_token(db, bucket, seed.eid, seed.association_token)
    if seed.speaks is not None:
        await associations.learn_speaks(db, bucket, seed.eid, seed.speaks)
    if seed.unverifiable:
        await seeds.flag_unverifiable(db, bucket, seed.eid)


async def _put_out(db: Db, caller: Caller, bucket: Bucket, seed: Seed, sealed: _Sealed) -> UUID:
    """Make the package the head. What was sealed and never handed out is taken back: it is sealed anew behind it."""
    eid = seed.eid
    out = await packages.head(db, bucket, eid)
    if out is not None and out.sealed == sealed.octets:
        return out.operation
    if out is not None:
        raise Conflict(f"something is out with it already (operation {out.operation}): one package at a time")
    if sealed.counter is not None and await packages.of_result(db, bucket, eid, None, sealed.counter) is not None:
        raise Conflict(f"counter {sealed.counter} was used in another package: no counter carries two")
    await mailbox.unseal(db, bucket, eid)
    card = await associations.lock(db, bucket, eid)
    speaks = seed.speaks or (card.speaks if card else None) or Speaks.V1_2
    operation = with_bucket(bucket, secrets.token_bytes(14))
    named = sealed.transaction
    head = Head(operation, sealed.what, sealed.counter, named, speaks, sealed.octets)
    await seeds.put_out(db, bucket, eid, head, caller.actor)
    if named is not None and bucket_in_transaction(named) != bucket:
        await packages.note_foreign(db, bucket, eid, named)
    about = {
        "kind": sealed.what.kind.value,
        "counter": sealed.counter,
        "sha256": hashlib.sha256(sealed.octets).hexdigest(),
    }
    await audit.record(
        db, bucket, caller.tenant, actor=caller.actor, action="package.seeded", subject=str(operation), data=about
    )
    await requests.hint(db, bucket)
    return operation


async def _record(db: Db, caller: Caller, bucket: Bucket, seed: Seed, *, new: bool) -> None:
    """Which things were given; neither the token nor a key is repeated."""
    about: dict[str, object] = {
        "new": new,
        "certificates": seed.certificates is not None,
        "public_key": seed.public_key is not None,
        "association_token": seed.association_token is not UNSET,
        "counter": seed.counter,
        "speaks": seed.speaks.value if seed.speaks else None,
        "unverifiable": seed.unverifiable,
        "package": seed.out is not None,
    }
    subject = format_eid(seed.eid)
    await audit.record(
        db, bucket, caller.tenant, actor=caller.actor, action="euicc.seeded", subject=subject, data=about
    )
    await events.record(db, bucket, seed.eid, caller.tenant, Happening.EUICC_SEEDED, {"by": caller.actor})
