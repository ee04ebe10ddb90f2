"""ESep: the packages an eIM signs for one eUICC, and the results it signs back. Pure (SGP.32 section 2.11)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from eim._fast import package as native
from eim.asn1 import sgp32
from eim.asn1.kinds import Octets
from eim.asn1.schema import Tagged
from eim.asn1.sgp32 import EcoList, ErrorSigned, IpaEuiccDataRequest, PsmoList, ResultSigned
from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.ids import Eid, TransactionId
from eim.errors import EmptyPackage
from eim.protocol import ecdsa
from eim.protocol.ecdsa import PublicKey

SIGNATURE_SIZE: Final = 64  # r || s, 32 octets each

# One package before it is signed: for whom, the counter (above every value that this eUICC has accepted, which answers
# any other with replayError), the eimTransactionId under which the result comes back, the association token (None:
# none configured, signed as zero), and what `contents` gave.
Unsealed: TypeAlias = tuple[Eid, int, TransactionId | None, int | None, bytes]


class SearchCriteria(msgspec.Struct, frozen=True):
    """Which notifications and stored results a data request asks for; without any, all of them."""

    ci_key_id: bytes | None = None  # the CI key whose certificates are wanted
    notification_seq: int | None = None
    notification_events: bytes | None = None
    result_seq: int | None = None
    all_results: bool = False  # v1.0.1 only: results in place of notifications


class Candidate(msgspec.Struct, frozen=True):
    """One way in which a result may have been signed."""

    form: SignatureForm
    token: int | None  # for SignatureForm.TOKEN


class Match(msgspec.Struct, frozen=True):
    """The way that verified."""

    form: SignatureForm
    coding: SignatureCoding
    token: int | None


_RESULTS: Final = b"\xa2"
_RESULTS_V1_0_1: Final = bytes.fromhex("BF2B")
_EVERYTHING: Final = bytes.fromhex("81BF20BF228384A5A6A8A9A0A2")
_EVERYTHING_V1_0_1: Final = bytes.fromhex("80BF20BF228384A5A688A9BF2B")
_SIGNATURE: Final = Tagged(0x5F37, Octets(SIGNATURE_SIZE, SIGNATURE_SIZE))
_ANYTHING: Final = SearchCriteria()


def contents(package: PsmoList | EcoList) -> bytes:
    """What a package asks for, as it travels: many packages may share it. Raises EmptyPackage when that is nothing."""
    if not package.items:
        raise EmptyPackage("the package has no operation: add one")
    return sgp32.encode(package)


def seal_each(eim_id: str, packages: Iterable[Unsealed], sign: Callable[[bytes], bytes]) -> list[bytes]:
    """The complete BF51 TLVs in their order, each signed by `sign`: r || s of 64 octets. SGP.32 section 2.11.1.1."""
    return native.seal_each(sign, eim_id.encode(), packages)


def data_request(
    tag_list: bytes | None,
    speaks: Speaks | None,
    transaction: bytes | None,
    criteria: SearchCriteria = _ANYTHING,
) -> bytes:
    """The complete BF52 TLV.

    tag_list  the tags wanted, one after the other; None: all that the version the device speaks can give
    speaks    v1.0.1 gets no transaction id and no search for one result: it would refuse both
    """
    old = speaks is Speaks.V1_0_1
    request = IpaEuiccDataRequest(
        tag_list=tag_list or (_EVERYTHING_V1_0_1 if old else _EVERYTHING),
        ci_key_id=criteria.ci_key_id,
        notification_seq=criteria.notification_seq,
        notification_events=criteria.notification_events,
        result_seq=None if old else criteria.result_seq,
        transaction_id=None if old else transaction,
        all_results=criteria.all_results and old,
    )
    return sgp32.encode(request)


def results_request(speaks: Speaks | None, transaction: bytes | None) -> bytes:
    """The complete BF52 TLV that asks for the results the card still holds: what recovers a lost one."""
    if speaks is Speaks.V1_0_1:
        return data_request(_RESULTS_V1_0_1, speaks, None, SearchCriteria(all_results=True))
    return data_request(_RESULTS, speaks, transaction)


def verify(
    result: ResultSigned | ErrorSigned,
    public_key: PublicKey,
    candidates: Sequence[Candidate],
    request_signature: bytes | None,
) -> Match | None:
    """The first candidate under which the signature holds; None when none does.

    request_signature  content of the request's 5F37, which SignatureForm.EIM_SIGNATURE covers; without it that
                       form can't match. SignatureForm.NONE never does: it says that nothing was verified.

    Only the octets as received are hashed. 64 octets are r || s, anything else may be the DER of some cards.
    """
    for candidate in candidates:
        behind = _behind(candidate, request_signature)
        coding = _coding(result, public_key, result.signed + behind) if behind is not None else None
        if coding is not None:
            return Match(candidate.form, coding, candidate.token if candidate.form is SignatureForm.TOKEN else None)
    return None


def _behind(candidate: Candidate, request_signature: bytes | None) -> bytes | None:
    """What was signed behind the data; None when it can't be known."""
    match candidate.form:
        case SignatureForm.TOKEN:
            return None if candidate.token is None else sgp32.encode_association_token(candidate.token)
        case SignatureForm.ZERO:
            return sgp32.encode_association_token(None)
        case SignatureForm.EIM_SIGNATURE:
            return None if request_signature is None else _SIGNATURE.write(request_signature)
        case SignatureForm.NONE:
            return None


def _coding(result: ResultSigned | ErrorSigned, public_key: PublicKey, message: bytes) -> SignatureCoding | None:
    """How the signature is written, when it holds for `message`."""
    if len(result.signature) == SIGNATURE_SIZE and ecdsa.verify(public_key, message, result.signature):
        return SignatureCoding.RAW
    return SignatureCoding.DER if ecdsa.verify_der(public_key, message, result.signature) else None
