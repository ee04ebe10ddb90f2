"""A result comes back: whose it is, verified, stored, applied, audited in one transaction; then acknowledged."""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import (
    DataError,
    DataResponse,
    ErrorSigned,
    ErrorUnsigned,
    ResponseError,
    ResultSigned,
    TriggerResult,
    Unreadable,
)
from eim.domain.euicc import Speaks
from eim.domain.event import Happening
from eim.domain.ids import Bucket, Eid, bucket_of
from eim.domain.outcome import data_error, ipa_error
from eim.domain.suspicion import SuspicionRules
from eim.errors import Contended
from eim.protocol.esipa import Notified, Provided, acknowledgement, provide_error
from eim.protocol.trust import Roots, eid_in_certificate
from eim.services import ecalls, introductions, notifications, settling
from eim.services.ports import Clock
from eim.services.traces import Exchange, Tracer
from eim.services.visit import Visit
from eim.services.whose import Source, transaction_in, whose
from eim.store import Db, associations, packages, requests, results
from eim.store.connect import Pool, transaction
from eim.store.results import Stored

_EID_NOT_FOUND: Final = 2
_INVALID_EID: Final = 3
_MISSING_EID: Final = 4


class ResultRules(msgspec.Struct, frozen=True):
    """What the configuration says about results."""

    strays: int  # how many messages of nobody are kept
    tell_unknown: bool  # whether an EID that nobody onboarded is told so; an enumeration oracle
    suspicion: SuspicionRules = SuspicionRules()


class Results:
    """Takes in what IPAs provide. Any process may take any message: all state is in the database."""

    def __init__(self, pool: Pool, roots: Roots, rules: ResultRules, clock: Clock) -> None:
        self._pool = pool
        self._roots = roots
        self._rules = rules
        self._tracer = Tracer(pool)
        self._clock = clock

    async def provide(self, provided: Provided, source: Source) -> bytes:
        """Take in one ProvideEimPackageResult; the answer, which may be sent only now that all is committed.

        A decodable result is never refused by HTTP: the card would send it for ever (SGP.32 reference, 18.5).
        """
        async with transaction(self._pool) as db:
            owner = await whose(db, provided.eid, provided.payload, source)
            card = await associations.lock(db, *owner) if owner else None
            if owner is None or card is None:
                await self._keep_stray(db, source, provided.raw)
                return self._unknown(provided, named=owner is not None)
            visit = Visit(db, owner, card, self._clock(), source.polled)
            visit.suspicion = self._rules.suspicion
            await _learn(visit, provided)
            await self._take(visit, provided)
            await _learn_proven(visit, provided)
            if provided.speaks is Speaks.V1_0_1 and visit.card.speaks is Speaks.V1_0_1:
                await introductions.ask_in_its_own_words(visit)
            await requests.hint(db, visit.bucket, visit.eid)
            answer = acknowledgement(visit.acknowledged, visit.speaks)
        await self._trace(visit, source, provided.raw, answer if provided.wants_answer else None)
        return answer

    async def notify(self, notified: Notified, source: Source) -> None:
        """Store one notification durably. Returning means committed: the IPA then removes it from the card."""
        async with transaction(self._pool) as db:
            owner = _owner_of(notified, source)
            card = await associations.lock(db, *owner) if owner else None
            if owner is None or card is None:
                await self._keep_stray(db, source, notified.raw)
                return
            visit = Visit(db, owner, card, self._clock(), source.polled)
            visit.suspicion = self._rules.suspicion
            await notifications.keep(visit, notified.notification.raw, self._roots)
            await requests.hint(db, visit.bucket)
        await self._trace(visit, source, notified.raw, None)

    async def keep_listed(self, db: Db, owner: tuple[Bucket, Eid], listed: Sequence[bytes]) -> Sequence[int]:
        """Store the notifications that a message lists beside its result; which ones may be acknowledged."""
        card = await associations.lock(db, *owner)
        if card is None:
            raise Contended("the card is not here any more")
        visit = Visit(db, owner, card, self._clock(), None)
        visit.suspicion = self._rules.suspicion
        for octets in listed:
            visit.acknowledge(await notifications.keep_listed(visit, octets, self._roots))
        await requests.hint(db, *owner)
        return visit.acknowledged

    async def _take(self, visit: Visit, provided: Provided) -> None:
        for older in provided.results:  # the card still lists them: they come before the one it has just made
            await settling.settle(visit, older)
        match provided.payload:
            case ResultSigned() | ErrorSigned() | ErrorUnsigned() as result:
                await settling.settle(visit, result)
            case DataResponse() as response:
                await introductions.take_data(visit, response, self._roots)
            case DataError() as error:
                await introductions.take_error(visit, error)
            case ResponseError() as error if not await introductions.take_refusal(visit, error):
                what = settling.Unsigned("responseError", ipa_error(error.code))
                await settling.take_unsigned(visit, what, error.raw, error.transaction_id)
            case TriggerResult() as trigger:
                await _keep_trigger(visit, trigger)
            case Unreadable() as message:
                await settling.keep_unreadable(visit, message.raw)
        for octets in provided.unreadable:
            await settling.keep_unreadable(visit, octets)
        keep = notifications.keep_listed if provided.wants_answer else notifications.keep  # 204 would acknowledge all
        for octets in provided.notifications:
            visit.acknowledge(await keep(visit, octets, self._roots))

    async def _trace(self, visit: Visit, source: Source, asked: bytes, answer: bytes | None) -> None:
        if visit.card.traced:
            exchange = Exchange(asked, visit.now, answer, self._clock())
            await self._tracer.keep(visit.bucket, visit.eid, source.peer, exchange)

    async def _keep_stray(self, db: Db, source: Source, octets: bytes) -> None:
        await results.keep_stray(db, source.peer, hashlib.sha256(octets).digest(), octets, self._rules.strays)

    def _unknown(self, provided: Provided, *, named: bool) -> bytes:
        if not named and isinstance(provided.payload, ResponseError):
            return acknowledgement((), provided.speaks)  # some IPAs clear up so before they have anything
        if not named:
            return provide_error(_MISSING_EID if provided.eid is None else _INVALID_EID)
        if self._rules.tell_unknown:
            return provide_error(_EID_NOT_FOUND)
        return acknowledgement((), provided.speaks)


async def _learn(visit: Visit, provided: Provided) -> None:
    """Read and answer a message by the version its shape tells; keep that only when the device itself seems to say it.

    Until a signature of the card verified that is who polled, or who knows a transaction id of ours.
    """
    speaks = news_of_version(visit.card.speaks, provided)
    if speaks is None:
        return
    visit.speaks = speaks
    if not visit.card.token_proven and (visit.on_polling_connection or await _names_ours(visit, provided)):
        await visit.learn_speaks(speaks)


async def _learn_proven(visit: Visit, provided: Provided) -> None:
    """A result whose signature holds says by its shape what the device speaks."""
    if visit.speaks is None or visit.speaks is visit.card.speaks:
        return
    if isinstance(provided.payload, ResultSigned | ErrorSigned):
        digest = hashlib.sha256(provided.payload.raw).digest()
        if await results.verdict_of(visit.db, visit.bucket, visit.eid, digest) == "verified":
            await visit.learn_speaks(visit.speaks)


def news_of_version(known: Speaks | None, provided: Provided) -> Speaks | None:
    """The version that the shape of a message tells, when it is news: v1.0.1 for certain, later ones only that it
    isn't that. A bare error looks alike in v1.0.1 and v1.1, so it corrects nothing that is known."""
    speaks = provided.speaks
    if known is not None and isinstance(provided.payload, ResponseError):
        return None
    if speaks is known or (speaks is not Speaks.V1_0_1 and known not in (None, Speaks.V1_0_1)):
        return None
    return speaks


async def _names_ours(visit: Visit, provided: Provided) -> bool:
    transaction = transaction_in(provided.payload)
    return transaction is not None and await packages.owner_of(visit.db, visit.bucket, transaction) == visit.eid


async def _keep_trigger(visit: Visit, trigger: TriggerResult) -> None:
    digest = hashlib.sha256(trigger.raw).digest()
    known = await results.verdict_of(visit.db, visit.bucket, visit.eid, digest)
    if known is None and not await settling.is_flooded(visit):
        stored = Stored(digest, trigger.raw, "trigger", "unsigned", transaction=trigger.transaction_id)
        await results.insert(visit.db, visit.bucket, visit.eid, visit.tenant, stored)
        reason = data_error(trigger.reason) if trigger.reason is not None else None
        await visit.record(Happening.DOWNLOAD_REPORTED, {"reason": reason})
        if trigger.reason == ecalls.ACTIVE and visit.on_polling_connection:
            await ecalls.note(visit)
        if trigger.installation is not None:
            await notifications.note_copy(visit, trigger.installation)


def _owner_of(notified: Notified, source: Source) -> tuple[Bucket, Eid] | None:
    """The EID it names, the one its certificate names, or the one that polled on this connection."""
    notification = notified.notification
    known = None if isinstance(notification, Unreadable) else notification
    said = known.eid if known else None
    certificate = known.euicc_certificate if known else None
    eid = Eid(said) if said else eid_in_certificate(certificate) if certificate else source.polled
    return (bucket_of(eid), eid) if eid is not None else None
