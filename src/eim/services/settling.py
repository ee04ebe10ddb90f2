"""Taking in one package result: verify, store, apply, end, audit; all in the caller's transaction (design 3.3, 3.8)."""

import hashlib
from typing import Final

import msgspec

from eim.asn1.sgp32 import ErrorSigned, ErrorUnsigned, PackageResult, ResultSigned, decode_package_result
from eim.domain.euicc import SignatureForm
from eim.domain.event import Happening
from eim.domain.ids import Eid, TransactionId
from eim.domain.operation import State
from eim.domain.outcome import Outcome, package_error, unsigned_error
from eim.services import applying, barring, contradictions, renewing
from eim.services.verdicts import Verdict, judge
from eim.services.visit import Visit
from eim.store import associations, mailbox, packages, requests, results, work
from eim.store.packages import Package
from eim.store.requests import Ask
from eim.store.results import Stored
from eim.store.work import Asked

REPLAY: Final = 4  # euiccPackageErrorCode: the counter is not above the card's
OUT_OF_RANGE: Final = 6  # the counter is above the card's maximum
_ASK_AGAIN: Final = 86_400.0  # seconds between two questions for a certificate that did not help
_IN_VAIN: Final = 3  # answers without a certificate that is believed, before the questions become rare
_RECOVER_AGAIN: Final = 60.0  # seconds before another recovery that may end in the same doubt; each time four times
_RECOVERIES: Final = 6
_UNPROVEN_AN_HOUR: Final = 20  # beyond that, what anybody could have sent for one EID is not even kept


async def settle(visit: Visit, result: PackageResult) -> None:
    """Take in one EuiccPackageResult. The same octets again change nothing and are acknowledged again."""
    digest = hashlib.sha256(result.raw).digest()
    known = await results.verdict_of(visit.db, visit.bucket, visit.eid, digest)
    if isinstance(result, ErrorUnsigned):
        await take_unsigned(
            visit, Unsigned("errorUnsigned", unsigned_error(result.code)), result.raw, result.transaction_id
        )
        await barring.perhaps_orphaned(visit, result)
    elif known is None:
        await _signed(visit, result, digest)
    elif known != "refused":
        _acknowledge(visit, result)


async def settle_unverified(visit: Visit) -> None:
    """The card's certificate has come: verify what waited for it, in the card's order."""
    for octets in await results.unverified(visit.db, visit.bucket, visit.eid):
        result = decode_package_result(octets)
        if isinstance(result, ErrorUnsigned):
            continue
        package = await _package_of(visit, result)
        verdict = judge(visit.card, visit.speaks, result, package)
        form, coding = (verdict.match.form.value, verdict.match.coding.value) if verdict.match else ("", "")
        digest = hashlib.sha256(octets).digest()
        await results.judge(visit.db, visit.bucket, visit.eid, digest, verdict.word, form, coding)
        await _act(visit, result, package, verdict)
        if package is not None and not verdict.counts:  # what made it doubtful was not the card's: the card is asked
            await requests.add(visit.db, visit.bucket, visit.eid, Ask.RECOVER, "unverified")


class Unsigned(msgspec.Struct, frozen=True):
    """What an error without signature says."""

    kind: str  # errorUnsigned, of the card; responseError, of its IPA
    error: str | None  # the standard's name of its code, where it has one

    @property
    def said(self) -> dict[str, object]:
        """As its event tells it."""
        kind: dict[str, object] = {"kind": self.kind}
        return kind if self.error is None else kind | {"error": self.error}


async def take_unsigned(visit: Visit, what: Unsigned, octets: bytes, transaction: bytes | None) -> None:
    """Keep an error that anybody could have sent. By itself it ends nothing (design 3.3).

    One that names the package now out, by the transaction id only its receiver knows, makes the next thing out a
    data request; the package stays in doubt until a higher counter is accepted.
    """
    digest = hashlib.sha256(octets).digest()
    known = await results.verdict_of(visit.db, visit.bucket, visit.eid, digest) is not None
    if not known and not await is_flooded(visit):
        kept = Stored(digest, octets, what.kind, "unsigned", transaction=transaction)
        await results.insert(visit.db, visit.bucket, visit.eid, visit.tenant, kept)
        await visit.record(Happening.RESULT_UNSIGNED, what.said)
    head = await packages.head(visit.db, visit.bucket, visit.eid)
    if head is not None and transaction is not None and head.transaction == transaction:
        await doubt(
            visit, head, "unsigned", what.error
        )  # also in a flood: who sends one must not keep the card's own from us


async def is_flooded(visit: Visit) -> bool:
    """Whether so much that proves nothing came for this EID that more of it is dropped: neither kept nor answered."""
    return await results.unproven_within_the_hour(visit.db, visit.bucket, visit.eid) >= _UNPROVEN_AN_HOUR


async def keep_unreadable(visit: Visit, octets: bytes) -> None:
    """Keep TLVs that say nothing we understand in the place of a result: evidence, and the card keeps its own copy."""
    digest = hashlib.sha256(octets).digest()
    if await results.verdict_of(visit.db, visit.bucket, visit.eid, digest) is not None:
        return
    if await is_flooded(visit):
        return
    kept = Stored(digest, octets, "unreadable", "refused")
    await results.insert(visit.db, visit.bucket, visit.eid, visit.tenant, kept)
    await visit.record(Happening.RESULT_REFUSED, {"why": "it can't be read"})


async def doubt(visit: Visit, package: Package, reason: str, error: str | None = None) -> None:
    """Whether the card executed `package` is not known: a worker is asked to find out.

    error  the standard's name of what was answered, where it has one

    A recovery that ends in the same doubt is tried again later and later: a card that refuses everything must not
    keep its device and us busy for ever.
    """
    tried = await work.failed_recoveries(visit.db, visit.bucket, visit.eid, reason)
    if await work.doubt(visit.db, visit.bucket, package.operation, reason):
        delay = _RECOVER_AGAIN * 4 ** (min(tried, _RECOVERIES) - 1) if tried else 0.0
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.RECOVER, reason, delay)
        await visit.audit("operation.in_doubt", {"operation": str(package.operation), "reason": reason})
        told = {"operation": str(package.operation), "reason": reason} | ({} if error is None else {"error": error})
        await visit.record(Happening.OPERATION_IN_DOUBT, told)


async def _signed(visit: Visit, result: ResultSigned | ErrorSigned, digest: bytes) -> None:
    package = await _package_of(visit, result)
    verdict = judge(visit.card, visit.speaks, result, package)
    if verdict.match is None and package is not None and package.transaction != result.data.transaction_id:
        package = None  # a counter can be guessed: without a signature that holds, it names no package
    elsewhere = result.data.eim_id != visit.card.eim_id and verdict.word != "refused"
    if elsewhere or (verdict.counts and package is None):
        verdict = Verdict("foreign", verdict.match)
    elif verdict.counts and visit.card.denied_by is not None:
        verdict = Verdict("denied", verdict.match)  # its key may be anybody's: kept, and believed in nothing
    if verdict.match is None and verdict.word != "unverifiable" and await is_flooded(visit):
        return
    await results.insert(visit.db, visit.bucket, visit.eid, visit.tenant, stored(result, digest, verdict, package))
    await _act(visit, result, package, verdict)
    if verdict.word in ("verified", "foreign") and verdict.match is not None and not elsewhere:
        await contradictions.look(visit, result, package)


async def _act(visit: Visit, result: ResultSigned | ErrorSigned, package: Package | None, verdict: Verdict) -> None:
    if verdict.word == "refused":
        await visit.record(
            Happening.RESULT_REFUSED, {"counter": result.data.counter, "why": "its signature doesn't verify"}
        )
        return
    _acknowledge(visit, result)
    if verdict.word == "denied":
        await visit.record(Happening.RESULT_REFUSED, {"counter": result.data.counter, "why": "the card is denied"})
    elif package is None or verdict.word == "foreign":
        await visit.record(Happening.RESULT_FOREIGN, {"counter": result.data.counter, "eimId": result.data.eim_id})
    elif verdict.word == "unverified":
        await _await_certificate(visit, package)
    else:
        await _pin(visit, verdict, package)
        await renewing.prove(visit, package)
        await _apply(visit, result, package)


async def _await_certificate(visit: Visit, package: Package) -> None:
    """The card executed it, but nothing proves that yet."""
    if await work.doubt(visit.db, visit.bucket, package.operation, "unverified"):
        await visit.audit("operation.in_doubt", {"operation": str(package.operation), "reason": "unverified"})
        await visit.record(Happening.OPERATION_IN_DOUBT, {"operation": str(package.operation), "reason": "unverified"})
    if package.state == "head":
        await mailbox.resolve_head(visit.db, visit.bucket, visit.eid)
    await ask_certificate(visit)


async def ask_certificate(visit: Visit) -> None:
    """Ask for the card's certificate again: at once while few answers lacked it, for one may have been forged; then
    at most once a day."""
    in_vain = await work.data_answers(visit.db, visit.bucket, visit.eid)
    delay = 0.0 if in_vain < _IN_VAIN else _ASK_AGAIN
    await requests.add(visit.db, visit.bucket, visit.eid, Ask.INTRODUCE, "certificate missing", delay)


async def _pin(visit: Visit, verdict: Verdict, package: Package) -> None:
    """The first form that verifies is the only one from now on. A token on trial is proven by the answer to a package
    that was signed with it, not by an older one."""
    match = verdict.match
    card = visit.card
    tried = card.token_on_trial and match is not None and package.token == match.token == card.association_token
    if match is None or (card.signature_form is not None and card.token_proven and not tried):
        return
    await associations.pin(visit.db, visit.bucket, visit.eid, match.form, match.coding, match.token)
    token = match.token if match.form is SignatureForm.TOKEN else visit.card.association_token
    visit.card = msgspec.structs.replace(
        visit.card,
        signature_form=match.form,
        signature_coding=match.coding,
        token_proven=True,
        association_token=token,
        former_token=None,
        token_on_trial=False,
    )
    if token != card.association_token:
        await visit.reseal()
    await visit.record(Happening.EUICC_PROVEN, {"form": match.form.value, "coding": match.coding.value})


async def _apply(visit: Visit, result: ResultSigned | ErrorSigned, package: Package) -> None:
    if isinstance(result, ResultSigned):
        await applying.apply(visit, result, package)
    elif result.data.code == REPLAY:
        await doubt(visit, package, "replay", package_error(REPLAY))
    else:
        await _error(visit, result.data.code, package)


async def _error(visit: Visit, code: int, package: Package) -> None:
    """The card signed that it did not execute the package."""
    asked = await work.read(visit.db, visit.bucket, package.operation)
    outcome = Outcome(State.FAILED, package_error(code))
    awaited = asked if asked is not None and asked.state in (State.OUT, State.IN_DOUBT) else None
    if asked is not None and code == OUT_OF_RANGE and asked.state is State.OUT:
        await _take_again_lower(visit, asked)
    elif awaited is not None and not await applying.postpone(visit, awaited, outcome):
        await applying.end(visit, awaited, outcome, {})
    if package.state == "head":
        await mailbox.resolve_head(visit.db, visit.bucket, visit.eid)


async def _take_again_lower(visit: Visit, asked: Asked) -> None:
    """The counter is above what the card can count to: a worker looks for one between that and the last it took."""
    reason = package_error(OUT_OF_RANGE)
    await mailbox.unseal_behind(visit.db, visit.bucket, visit.eid)
    await work.retry(visit.db, visit.bucket, asked.id, 0.0, {"reason": reason})
    await requests.add(visit.db, visit.bucket, visit.eid, Ask.RECOVER, reason)
    await visit.record(Happening.OPERATION_POSTPONED, {"operation": str(asked.id), "reason": reason})


async def _package_of(visit: Visit, result: ResultSigned | ErrorSigned) -> Package | None:
    transaction = result.data.transaction_id
    return await packages.of_result(
        visit.db,
        visit.bucket,
        Eid(visit.eid),
        TransactionId(transaction) if transaction else None,
        result.data.counter,
    )


def stored(result: ResultSigned | ErrorSigned, digest: bytes, verdict: Verdict, package: Package | None) -> Stored:
    """A signed result as its row keeps it."""
    match = verdict.match
    return Stored(
        digest=digest,
        octets=result.raw,
        kind="result" if isinstance(result, ResultSigned) else "errorSigned",
        verdict=verdict.word,
        operation=package.operation if package else None,
        transaction=result.data.transaction_id,
        counter=result.data.counter,
        seq_number=result.data.seq_number if isinstance(result, ResultSigned) else None,
        form=match.form.value if match else None,
        coding=match.coding.value if match else None,
        late=package is not None and package.state != "head",
    )


def _acknowledge(visit: Visit, result: ResultSigned | ErrorSigned) -> None:
    if isinstance(result, ResultSigned):
        visit.acknowledge(result.data.seq_number)
