"""What a card says of itself when asked (BF52): provisional until a signed result proves it (design 3.10)."""

import hashlib
from typing import Final

import msgspec

from eim.asn1.sgp32 import DataError, DataResponse, IpaEuiccData, ResponseError
from eim.domain import card_info, operation
from eim.domain.euicc import SignatureForm, Speaks
from eim.domain.event import Happening
from eim.domain.ids import TransactionId
from eim.domain.operation import State
from eim.domain.outcome import Outcome, data_error, ipa_error
from eim.errors import UntrustedCertificate
from eim.protocol import trust
from eim.protocol.trust import Roots
from eim.services import applying, certifying, ecalls, explaining, following, settling
from eim.services.notifications import keep_listed
from eim.services.visit import Visit
from eim.store import associations, mailbox, packages, requests, results, work
from eim.store.packages import Package
from eim.store.requests import Ask
from eim.store.results import Stored

_INCORRECT_TAG_LIST: Final = 1
_INVALID_FORMAT: Final = 1
_HIGHEST_TOKEN: Final = 2**63 - 1  # that a row holds; a card draws them from 1 on


async def take_data(visit: Visit, response: DataResponse, roots: Roots) -> None:
    """Take in an IpaEuiccDataResponse: certificates, token, capabilities, then the results and notifications in it.

    One that may be anybody's is kept as foreign and acknowledges nothing; the question stays out.
    """
    data = response.data
    package = await _request_of(visit, data.transaction_id)
    if package is not None and not _may_answer(visit, package, data.transaction_id) and not _shows(visit, data, roots):
        await _store(visit, "data", response.raw, None)
        return
    await _store(visit, "data", response.raw, package)
    if package is not None and await _is_awaited(visit, package):
        await ecalls.over(visit)
        if data.euicc_certificate is not None and data.eum_certificate is not None:
            await certifying.certify(visit, (data.euicc_certificate, data.eum_certificate), roots)
        await _introduce(visit, data, package)
        await _answered(visit, package, Outcome(State.DONE, "ok"))
        if visit.card.public_key is None and await results.unverified(visit.db, visit.bucket, visit.eid):
            await settling.ask_certificate(visit)
    for result in data.results:
        await settling.settle(visit, result)
    for octets in data.notifications:
        visit.acknowledge(await keep_listed(visit, octets, roots))
    for octets in data.unreadable:
        await settling.keep_unreadable(visit, octets)


async def take_error(visit: Visit, error: DataError) -> None:
    """Take in an IpaEuiccDataResponseError: unsigned, so it ends nothing but the question itself."""
    package = await _request_of(visit, error.transaction_id)
    if package is not None and not _may_answer(visit, package, error.transaction_id):
        package = None
    await _store(visit, "dataError", error.raw, package)
    if package is None or not await _is_awaited(visit, package):
        return
    if error.code == ecalls.ACTIVE:
        await _answered(visit, package, Outcome(State.FAILED, ecalls.REASON))
        return
    if error.code == _INCORRECT_TAG_LIST and package.speaks != Speaks.V1_0_1.value and not visit.card.token_proven:
        await visit.learn_speaks(Speaks.V1_0_1)
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.INTRODUCE, "incorrectTagList")
    else:
        await _introduce_by_record(visit)
    await _answered(visit, package, Outcome(State.FAILED, data_error(error.code)))


async def take_refusal(visit: Visit, error: ResponseError) -> bool:
    """End the data request that an IPA could not use: nothing on the card depends on it. False: it names none that
    is out, or only its own connection could name it."""
    package = await _request_of(visit, error.transaction_id)
    if package is None or (error.transaction_id is None and not _was_bare(visit, package)):
        return False
    if not await _is_awaited(visit, package):
        return False
    await _store(visit, "responseError", error.raw, package)
    await _introduce_by_record(visit)
    await _answered(visit, package, Outcome(State.FAILED, ipa_error(error.code)))
    return True


async def ask_in_its_own_words(visit: Visit) -> None:
    """An IPA that speaks v1.0.1 has not answered the data request of a later version that is out: it never will."""
    head = await packages.head(visit.db, visit.bucket, visit.eid) if visit.on_polling_connection else None
    if head is None or head.counter is not None or head.transaction is None or not await _is_awaited(visit, head):
        return
    await _answered(visit, head, Outcome(State.FAILED, ipa_error(_INVALID_FORMAT)))
    await requests.add(visit.db, visit.bucket, visit.eid, Ask.INTRODUCE, "asked in the words of a later version")


async def _introduce_by_record(visit: Visit) -> None:
    """It tells nothing of itself: what an operator recorded has to do."""
    if visit.card.introduced_at is None:
        await _write(visit, visit.card.association_token, visit.card.speaks, {})


async def _request_of(visit: Visit, transaction: bytes | None) -> Package | None:
    """The data request it answers: by transaction id, or the one that is out when it carries none (v1.0.1)."""
    if transaction is not None:
        return await packages.of_data(visit.db, visit.bucket, visit.eid, TransactionId(transaction))
    head = await packages.head(visit.db, visit.bucket, visit.eid)
    return head if head is not None and head.counter is None else None


def _may_answer(visit: Visit, package: Package, transaction: bytes | None) -> bool:
    """Whether an answer is to `package`: a transaction id that went out may be left out only where it went out to."""
    return package.transaction is None or transaction is not None or visit.on_polling_connection


def _was_bare(visit: Visit, package: Package) -> bool:
    return package.transaction is None and visit.on_polling_connection


def _shows(visit: Visit, data: IpaEuiccData, roots: Roots) -> bool:
    """Whether it carries this card's certificate, by a chain that checks."""
    if data.euicc_certificate is None or data.eum_certificate is None:
        return False
    try:
        return trust.check_chain(data.euicc_certificate, data.eum_certificate, roots, visit.now).eid == visit.eid
    except UntrustedCertificate:
        return False


async def _is_awaited(visit: Visit, package: Package) -> bool:
    """Whether the question is still open: a second answer, perhaps not the card's, changes nothing."""
    asked = await work.read(visit.db, visit.bucket, package.operation)
    return asked is not None and asked.state not in operation.ENDED


async def _store(visit: Visit, kind: str, octets: bytes, package: Package | None) -> None:
    digest = hashlib.sha256(octets).digest()
    if await results.verdict_of(visit.db, visit.bucket, visit.eid, digest) is None:
        if package is None and await settling.is_flooded(visit):
            return
        operation_id = package.operation if package else None
        stored = Stored(digest, octets, kind, "unsigned" if package else "foreign", operation=operation_id)
        await results.insert(visit.db, visit.bucket, visit.eid, visit.tenant, stored)


async def _answered(visit: Visit, package: Package, outcome: Outcome) -> None:
    asked = await work.read(visit.db, visit.bucket, package.operation)
    if asked is not None and asked.state not in operation.ENDED:
        ordered = asked.order_id is not None or outcome.reason == ecalls.REASON  # else the eIM asks anew by itself
        if not (ordered and await applying.postpone(visit, asked, outcome)):
            await applying.end(visit, asked, outcome, {})
    if package.state == "head":
        await mailbox.resolve_head(visit.db, visit.bucket, visit.eid)


async def _introduce(visit: Visit, data: IpaEuiccData, package: Package) -> None:
    """Keep what it says: the token only while no signed result has proven another."""
    card = visit.card
    speaks = card.speaks if card.speaks is Speaks.V1_0_1 else _newest(data) or card.speaks
    token = card.association_token
    reported = await _reported_token(visit, data)
    if not card.token_proven and reported is not None:
        token = reported
    elif not card.token_proven and await _was_refused(visit):
        token = None  # it has none configured, it says, and would not take the recorded one
    elif card.token_proven:
        await _doubt_token(visit, reported)
        token = visit.card.association_token
    said = _capabilities(data)
    await explaining.by_data(visit, said)
    await following.hear_addresses(visit, data.default_smdp)
    await _write(visit, token, speaks, said)
    if _asked_in_vain(visit, data, package):
        await requests.add(visit.db, visit.bucket, visit.eid, Ask.INTRODUCE, "certificates missing")


async def _reported_token(visit: Visit, data: IpaEuiccData) -> int | None:
    """The token it reports, where a card can have drawn such a one."""
    token = data.association_token
    if token is None or 0 <= token <= _HIGHEST_TOKEN:
        return token
    await visit.record(Happening.EUICC_TOKEN_DIFFERS, {"why": "it reports a number that no card draws as a token"})
    return None


async def _doubt_token(visit: Visit, reported: int | None) -> None:
    """A report is no proof: the proven token stays, until the card could not verify what was signed with it. Then the
    reported one is tried (none: zero), and after that the one before again; a signature decides."""
    card = visit.card
    if reported not in (None, card.association_token):
        await visit.record(Happening.EUICC_TOKEN_DIFFERS, {"why": "it reports a token other than the proven one"})
    has_token = card.signature_form in (SignatureForm.TOKEN, SignatureForm.ZERO)
    if not has_token or card.next_key is not None or not await _was_refused(visit):
        return
    if card.token_on_trial and reported in (card.association_token, card.former_token):
        await associations.return_to_former_token(visit.db, visit.bucket, visit.eid)
        token, former, on_trial = card.former_token, None, False
    elif reported == card.association_token:
        return
    else:
        await associations.try_token(visit.db, visit.bucket, visit.eid, reported)
        former = card.former_token if card.token_on_trial else card.association_token
        token, on_trial = reported, True
    visit.card = msgspec.structs.replace(card, association_token=token, former_token=former, token_on_trial=on_trial)
    await visit.audit("euicc.token_tried", {"on_trial": on_trial})
    await visit.reseal()


async def _was_refused(visit: Visit) -> bool:
    """Whether the card answered a package of ours without being able to sign: the token may be the reason."""
    return any(d.asked.doubt == "unsigned" for d in await work.doubtful(visit.db, visit.bucket, visit.eid))


def _asked_in_vain(visit: Visit, data: IpaEuiccData, package: Package) -> bool:
    """A v1.0.1 peer that was asked in the words of v1.2 may leave out what it does not know."""
    missing = data.euicc_certificate is None and visit.card.public_key is None and not visit.card.unverifiable
    return missing and visit.card.speaks is Speaks.V1_0_1 and package.speaks != Speaks.V1_0_1.value


async def _write(visit: Visit, token: int | None, speaks: Speaks | None, capabilities: dict[str, object]) -> None:
    card = visit.card
    await associations.introduce(visit.db, visit.bucket, visit.eid, token, speaks, capabilities)
    if speaks is not None and speaks is not card.speaks:
        visit.speaks = speaks
        await visit.audit("euicc.speaks", {"speaks": speaks.value})
    if card.introduced_at is None:
        await visit.record(Happening.EUICC_INTRODUCED, {"speaks": speaks.value if speaks else None})
        await visit.audit("euicc.introduced", {})
    if token != card.association_token or speaks is not card.speaks:
        await visit.reseal()
    visit.card = msgspec.structs.replace(card, association_token=token, introduced_at=visit.now, speaks=speaks)


def _newest(data: IpaEuiccData) -> Speaks | None:
    """The newest version of SGP.32 that the card lists and we know."""
    listed = {".".join(str(octet) for octet in version) for version in data.iot_versions}
    known = {"1.0.1": Speaks.V1_0_1, "1.1.0": Speaks.V1_1, "1.2.0": Speaks.V1_2, "1.3.0": Speaks.V1_3}
    found = [speaks for text, speaks in known.items() if text in listed]
    return found[-1] if found else None


def _capabilities(data: IpaEuiccData) -> dict[str, object]:
    said: dict[str, object] = {
        "defaultSmdpAddress": data.default_smdp,
        "rootSmdsAddress": data.root_smds,
        "euiccInfo1": data.info1.hex() if data.info1 else None,
        "euiccInfo2": data.info2.hex() if data.info2 else None,
        "deviceInfo": data.device_info.hex() if data.device_info else None,
        "card": card_info.described(data.info2) or None,
        "ciKeysForSigning": [key.hex() for key in data.ci_keys_signing] or None,
    }
    if data.capabilities is not None:
        said["ipaFeatures"] = sorted(data.capabilities.features)
        said["ipaProtocols"] = sorted(data.capabilities.protocols or ())
    return {name: value for name, value in said.items() if value is not None}
