"""Onboarding: an EID becomes a device, with its mailbox and its introduction, in one transaction (design 3.10)."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from eim.domain.event import Happening
from eim.domain.ids import (
    DEFAULT_TENANT,
    Eid,
    IdentityId,
    TenantId,
    bucket_of,
    derive_operation_id,
    eid_check_digits_hold,
    format_eid,
    parse_eid,
)
from eim.domain.operation import Kind, Priority
from eim.domain.step import Compact
from eim.errors import Conflict, EimError, InvalidLines, InvalidRequest
from eim.protocol.trust import TrustedEuicc
from eim.services.limits import make_room_for_euiccs
from eim.services.lines import OnError, Problem, Problems, answered_before, name_duplicates, read_eids, remember
from eim.services.tokens import Caller
from eim.store import Db, audit, denials, euiccs, events, operations, unknown
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.euiccs import Identity, Newcomer
from eim.store.events import Event
from eim.store.operations import Line, Terms
from eim.store.orders import Repeat

_INTRODUCTION: Final = (Kind.DATA_REQUEST, Kind.LIST_PROFILES)  # in this order: signing needs what the first brings

HIGHEST_COUNTER: Final = 8_388_607  # a counterValue is at most this

# (eUICC certificate, EUM certificate), both DER -> what they prove. Raises UntrustedCertificate.
CheckCertificates: TypeAlias = Callable[[bytes, bytes], TrustedEuicc]


class Candidate(msgspec.Struct, frozen=True):
    """One line of a request, as it was written."""

    eid: str
    label: str | None = None
    tags: tuple[str, ...] = ()
    identity: str | None = None  # an eimId; None: the tenant's only one
    association_token: int | None = None
    counter: int | None = None  # the last one used; None: the initial one
    initial_counter: int | None = None  # the counterValue the card was given with the association; None: the identity's
    group: str | None = None
    time_zone: str | None = None  # a name of the IANA database
    euicc_certificate: str | None = None  # PEM, or DER as base64
    eum_certificate: str | None = None
    unverifiable: bool = False


class CheckDigits(StrEnum):
    REQUIRED = "required"
    IGNORED = "ignored"  # test equipment has wrong ones


class Rules(msgspec.Struct, frozen=True):
    """How strictly the lines of one request are taken."""

    check_digits: CheckDigits = CheckDigits.REQUIRED
    on_error: OnError = OnError.REFUSE
    counter_margin: int = (
        0  # added to a counter that another eIM used: what it sealed after it was asked is passed over
    )


class Onboarded(msgspec.Struct, frozen=True):
    """What an onboarding did: who is new, in the order of the lines, and which lines were passed over."""

    eids: tuple[Eid, ...]
    problems: tuple[Problem, ...]


class Prepared(msgspec.Struct, frozen=True):
    """Lines that were looked at as far as that goes without the database. What is wrong with them is in `problems`."""

    candidates: Sequence[Candidate]
    eids: Sequence[Eid | None]
    proven: "dict[int, _Proof]"
    rules: Rules
    problems: Problems


class Onboarding:
    """Makes devices of EIDs. Holds the operator role's pool and the judge of certificates."""

    def __init__(self, pool: Pool, check_certificates: CheckCertificates) -> None:
        self._pool = pool
        self._check_certificates = check_certificates

    async def add(self, caller: Caller, candidate: Candidate, rules: Rules, repeat: Repeat | None) -> Eid:
        """Onboard one eUICC. Raises InvalidEid, InvalidRequest, UntrustedCertificate, or Conflict when it is known."""
        alone = Rules(rules.check_digits, OnError.REFUSE)
        try:
            done = await self.add_many(caller, [candidate], alone, repeat)
        except InvalidLines as refused:
            raise refused.__cause__ or refused from None
        return done.eids[0]

    async def add_many(
        self, caller: Caller, candidates: Sequence[Candidate], rules: Rules, repeat: Repeat | None
    ) -> Onboarded:
        """Onboard a list in one transaction: all of it, or (OnError.SKIP) its good lines. Raises InvalidLines."""
        prepared, control = await self.prepare(candidates, rules), uuid4()
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, control, Onboarded)
            if before is not None:
                return before
            new, problems = await place(db, caller, control, prepared)
            done = Onboarded(new, problems.settle(rules.on_error, len(candidates)))
            await remember(db, caller.tenant, repeat, done)
        return done

    async def prepare(self, candidates: Sequence[Candidate], rules: Rules) -> Prepared:
        """Read the lines and check their certificates, outside of any transaction."""
        problems = Problems()
        eids = _read(candidates, rules.check_digits, problems)
        proven = await asyncio.to_thread(_prove, candidates, eids, self._check_certificates, problems)
        return Prepared(candidates, eids, proven, rules, problems)


async def place(db: Db, caller: Caller, control: UUID, prepared: Prepared) -> tuple[tuple[Eid, ...], Problems]:
    """Insert the good lines with all that belongs to a new eUICC; who is new, and what is wrong with the others."""
    problems = prepared.problems.copy()
    identities = await euiccs.identities(db, caller.tenant)
    newcomers = _newcomers(prepared, identities, problems)
    await make_room_for_euiccs(db, caller.tenant, len(newcomers))
    new = await _insert(db, caller.tenant, newcomers, problems)
    inserted = [each for each in newcomers.values() if each.eid in new]
    await _introduce(db, caller, control, inserted)
    if caller.tenant == DEFAULT_TENANT:  # which alone sees who calls and is unknown
        await unknown.forget(db, [each.eid for each in inserted])
    return tuple(each.eid for each in inserted), problems


class _Proof(msgspec.Struct, frozen=True):
    """Certificates that hold, and what they prove."""

    euicc: bytes
    eum: bytes
    trusted: TrustedEuicc


def _read(candidates: Sequence[Candidate], check_digits: CheckDigits, problems: Problems) -> list[Eid | None]:
    eids = read_eids([candidate.eid for candidate in candidates], problems)
    for position, eid in enumerate(eids):
        if eid is not None and check_digits is CheckDigits.REQUIRED and not eid_check_digits_hold(eid):
            problems.add(position, _mistyped(eid))
    name_duplicates(eids, problems)
    return eids


def _mistyped(eid: Eid) -> EimError:
    try:
        parse_eid(format_eid(eid))
    except EimError as error:
        return error
    raise AssertionError("its check digits were wrong a moment ago")


def _prove(
    candidates: Sequence[Candidate], eids: Sequence[Eid | None], check: CheckCertificates, problems: Problems
) -> dict[int, _Proof]:
    """What the certificates of each line prove; lines without any are missing. Slow: run it in a thread."""
    proven = {}
    for position, (candidate, eid) in enumerate(zip(candidates, eids, strict=True)):
        if eid is None or problems.has(position):
            continue
        try:
            proof = _prove_one(candidate, eid, check)
        except EimError as error:
            problems.add(position, error)
            continue
        if proof is not None:
            proven[position] = proof
    return proven


def _prove_one(candidate: Candidate, eid: Eid, check: CheckCertificates) -> _Proof | None:
    if candidate.euicc_certificate is None and candidate.eum_certificate is None:
        return None
    if candidate.euicc_certificate is None or candidate.eum_certificate is None:
        raise InvalidRequest("an eUICC certificate is checked with its EUM certificate: give both, or neither")
    euicc, eum = _der(candidate.euicc_certificate), _der(candidate.eum_certificate)
    trusted = check(euicc, eum)
    if trusted.eid != eid:
        raise InvalidRequest(f"the certificate is of EID {format_eid(trusted.eid)}, not of this one")
    return _Proof(euicc, eum, trusted)


def _der(text: str) -> bytes:
    """The DER of a certificate written as PEM or as base64."""
    lines = (line.strip() for line in text.strip().splitlines())
    try:
        return base64.b64decode("".join(line for line in lines if not line.startswith("-----")), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("a certificate is given as PEM, or as its DER in base64") from None


def _newcomers(prepared: Prepared, identities: Sequence[Identity], problems: Problems) -> dict[int, Newcomer]:
    """The good lines as rows, by position."""
    newcomers = {}
    for position, (candidate, eid) in enumerate(zip(prepared.candidates, prepared.eids, strict=True)):
        if eid is None or problems.has(position):
            continue
        try:
            identity = _identity(identities, candidate.identity)
            counter = _counter(candidate, identity, prepared.rules.counter_margin)
            check_time_zone(candidate.time_zone)
        except EimError as error:
            problems.add(position, error)
            continue
        newcomers[position] = _newcomer(candidate, eid, prepared.proven.get(position), (identity.id, counter))
    return newcomers


def _counter(candidate: Candidate, identity: Identity, margin: int) -> int:
    """What the first package's counter will be above. Raises InvalidRequest where there is no room left."""
    initial = identity.initial_counter if candidate.initial_counter is None else candidate.initial_counter
    if candidate.counter is None:
        return initial
    if candidate.initial_counter is not None and candidate.counter < candidate.initial_counter:
        raise InvalidRequest("'counter' is below 'initial_counter', where counting began: one of the two is wrong")
    if candidate.counter + margin > HIGHEST_COUNTER:
        raise InvalidRequest(
            f"counter {candidate.counter} and a margin of {margin} are above {HIGHEST_COUNTER:,}, where counters end: "
            "take a smaller margin, or renew the association at the eIM that has it"
        )
    return candidate.counter + margin


def check_time_zone(name: str | None) -> None:
    try:
        if name is not None:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(f"there is no time zone {name!r}: give a name like Europe/Berlin") from None


def _identity(identities: Sequence[Identity], eim_id: str | None) -> Identity:
    if eim_id is None and len(identities) == 1:
        return identities[0]
    found = [identity for identity in identities if identity.eim_id == eim_id]
    if found:
        return found[0]
    if not identities:
        raise Conflict("there is no identity yet that could be associated with an eUICC: make one with 'eim keys init'")
    names = ", ".join(identity.eim_id for identity in identities)
    raise InvalidRequest(f"'identity' names one of these eimIds: {names}")


def _newcomer(candidate: Candidate, eid: Eid, proof: _Proof | None, start: tuple[IdentityId, int]) -> Newcomer:
    """start  which identity it is associated with, and the last counter used"""
    trusted = proof.trusted if proof else None
    return Newcomer(
        bucket=bucket_of(eid),
        eid=eid,
        identity=start[0],
        label=candidate.label,
        tags=candidate.tags,
        introduced=trusted is not None and candidate.association_token is not None,
        counter=start[1],
        token=candidate.association_token,
        unverifiable=candidate.unverifiable,
        euicc_certificate=proof.euicc if proof else None,
        eum_certificate=proof.eum if proof else None,
        curve=trusted.public_key.curve.value if trusted else None,
        public_key=trusted.public_key.point if trusted else None,
        ci_key_id=trusted.ci_key_id if trusted else None,
        group=candidate.group,
        time_zone=candidate.time_zone,
    )


async def _insert(db: Db, tenant: TenantId, newcomers: dict[int, Newcomer], problems: Problems) -> set[Eid]:
    """Insert them in bucket order; a line whose EID is known, to whomever, becomes a problem."""
    new = await euiccs.insert(db, tenant, sorted(newcomers.values(), key=lambda n: (n.bucket, n.eid)))
    for position, newcomer in newcomers.items():
        if newcomer.eid not in new:
            problems.add(position, Conflict(f"EID {format_eid(newcomer.eid)} can't be added: it is known already"))
    return new


async def _introduce(db: Db, caller: Caller, control: UUID, new: Sequence[Newcomer]) -> None:
    """Order what a card is asked first, and write down who added it."""
    await euiccs.allocate(db, caller.tenant, {(n.bucket, n.eid): len(_INTRODUCTION) for n in new})
    for place, kind in enumerate(_INTRODUCTION):
        lines = [
            Line(n.bucket, derive_operation_id(control, place, n.eid), n.eid, n.identity, place + 1, Compact(kind))
            for n in new
        ]
        terms = Terms(None, ordered_by="eim", priority=Priority.INTRODUCTION)
        await operations.insert(db, caller.tenant, terms, lines)
    await denials.look_if_any(db, caller.tenant, [n.bucket for n in new])
    await events.append(db, caller.tenant, [_onboarded(caller, n) for n in new])
    await audit.write(db, [_record(caller, n) for n in new])
    await events.hint(db, [n.bucket for n in new])


def _record(caller: Caller, newcomer: Newcomer) -> Record:
    data = {"counter": newcomer.counter, "introduced": newcomer.introduced, "unverifiable": newcomer.unverifiable}
    return Record(caller.tenant, caller.actor, "euicc.onboard", format_eid(newcomer.eid), data, newcomer.bucket)


def _onboarded(caller: Caller, newcomer: Newcomer) -> Event:
    return Event(newcomer.bucket, newcomer.eid, Happening.EUICC_ONBOARDED, {"by": caller.actor})
