"""The ESipa messages around packages, results and notifications (SGP.32 section 6.3.2)."""

from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import structs

from eim._fast.provided import read_result
from eim.asn1 import der
from eim.asn1.data import (
    DATA_TAG,
    LIST,
    NOTIFICATIONS,
    RETRIEVED,
    DataError,
    DataResponse,
    Listed,
    read_data_response,
    write_data_response,
)
from eim.asn1.der import Node
from eim.asn1.kinds import Integer, Null, Octets
from eim.asn1.package_results import TAG as RESULT_TAG
from eim.asn1.package_results import read_package_result, write_package_result
from eim.asn1.packages import EID, TRANSACTION
from eim.asn1.results import (
    ErrorSigned,
    ErrorUnsigned,
    PackageResult,
    ResultData,
    ResultSigned,
    Unreadable,
    results_of_codes,
)
from eim.asn1.schema import Member, Opaque, Sequence, Tagged
from eim.errors import Malformed


class TriggerResult(msgspec.Struct, frozen=True):
    """BF54 from the IPA: how a direct download ended."""

    transaction_id: bytes | None
    installation: bytes | None = None  # the BF37 TLV
    reason: int | None = None  # 104 ecallActive, 127; others appear
    raw: bytes = b""


class ResponseError(msgspec.Struct, frozen=True):
    """The IPA could not use what we sent."""

    code: int  # 1 invalidPackageFormat, 2 unknownPackage, 127
    transaction_id: bytes | None = None
    raw: bytes = b""


Payload = PackageResult | DataResponse | DataError | TriggerResult | ResponseError | Unreadable


class GetEimPackageRequest(msgspec.Struct, frozen=True):
    """BF4F from the IPA: the poll."""

    eid: bytes  # 16 octets
    state_change: bool = False
    cause: int | None = None  # since v1.1: 0 other eIM, 1 fallback, 2 emergency, 4 reset, 5 immediate enable ..
    plmn: bytes | None = None  # 3 octets as TS 24.008


class GetEimPackageRequestV101(msgspec.Struct, frozen=True):
    """The same in v1.0.1, where tag 81 is the PLMN and there is no cause."""

    eid: bytes
    state_change: bool = False
    plmn: bytes | None = None


class Envelope(StrEnum):
    """How a result and its notifications lie in BF50."""

    BARE = "bare"  # the alternative itself
    LIST = "list"  # 30 { BF51, A0 { .. } }, since v1.1
    RETRIEVED = "retrieved"  # 30 { BF51, BF2B { A0 { .. } } }, v1.0.1


class ProvideEimPackageResult(msgspec.Struct, frozen=True):
    """BF50 from the IPA."""

    payload: Payload
    eid: bytes | None = None  # read as it came, so perhaps not of 16 octets
    notifications: tuple[bytes, ...] = ()  # PendingNotification TLVs; none in a BARE envelope
    envelope: Envelope = Envelope.BARE
    results: tuple[PackageResult, ...] = ()  # more of them, in the list of a RETRIEVED envelope
    unreadable: tuple[bytes, ...] = ()  # elements of the list that are neither


class Carrier(StrEnum):
    """What a HandleNotification carries a result in."""

    PROVIDE = "BF50"
    V1_0_1 = "A1"


class HandleNotification(msgspec.Struct, frozen=True):
    """BF3D from the IPA: one notification for an SM-DP+, or a result that wants no answer."""

    content: bytes | ProvideEimPackageResult  # bytes: what has the place of one PendingNotification TLV
    carrier: Carrier = Carrier.PROVIDE


_ENVELOPES: Final = (Envelope.BARE, Envelope.LIST, Envelope.RETRIEVED)  # by the number that the native reader gives
PROVIDE_TAG: Final = 0xBF50
HANDLE_TAG: Final = 0xBF3D
TRIGGER_TAG: Final = 0xBF54
_LIST_TAG: Final = 0xA0
_ERROR_TAG: Final = 0xA0
_BARE_ERROR_TAG: Final = 0x02  # v1.0.1 and v1.1
_NOTIFICATION_TAG: Final = 0xA0
_V1_0_1_TAG: Final = 0xA1

_POLL: Final = Sequence(
    GetEimPackageRequest,
    (
        Member("eid", EID),
        Member("state_change", Tagged(0x80, Null()), False),
        Member("cause", Tagged(0x81, Integer()), None),
        Member("plmn", Tagged(0x82, Octets(3, 3)), None),
    ),
)
POLL: Final = Tagged(0xBF4F, _POLL)

_POLL_V1_0_1: Final = Sequence(
    GetEimPackageRequestV101,
    (
        Member("eid", EID),
        Member("state_change", Tagged(0x80, Null()), False),
        Member("plmn", Tagged(0x81, Octets(3, 3)), None),
    ),
)
POLL_V1_0_1: Final = Tagged(0xBF4F, _POLL_V1_0_1)

_RESPONSE_ERROR: Final = Sequence(
    ResponseError,
    (
        Member("transaction_id", Tagged(0x80, TRANSACTION), None),
        Member("code", Tagged(0x02, Integer())),
    ),
)


class _DownloadError(msgspec.Struct, frozen=True):
    reason: int | None = None  # there since v1.1
    response: bytes | None = None


_DOWNLOAD_ERROR: Final = Tagged(
    der.SEQUENCE,
    Sequence(
        _DownloadError,
        (
            Member("reason", Tagged(0x80, Integer()), None),
            Member("response", Tagged(0x04, Octets()), None),
        ),
    ),
)


class _Trigger(msgspec.Struct, frozen=True):
    transaction_id: bytes | None
    installation: bytes | None
    error: _DownloadError | None


_TRIGGER: Final = Tagged(
    TRIGGER_TAG,
    Sequence(
        _Trigger,
        (
            Member("transaction_id", Tagged(0x82, TRANSACTION), None),
            Member("installation", Opaque((0xBF37,)), None),
            Member("error", _DOWNLOAD_ERROR, None),
        ),
    ),
)


def read_poll(octets: bytes) -> GetEimPackageRequest | GetEimPackageRequestV101:
    """The poll in BF4F; Malformed only without an EID of 16 octets, as what else it says isn't worth a refusal.

    Three octets at tag 81 are the PLMN of v1.0.1: a cause has one.
    """
    held = der.inside(octets, der.undouble(octets, der.read_one(octets)))
    if any(child[0] == 0x81 and child[3] - child[2] == 3 for child in held):
        old: GetEimPackageRequestV101 = _POLL_V1_0_1.build_readable(octets, held)
        return old
    poll: GetEimPackageRequest = _POLL.build_readable(octets, held)
    return poll


def eid_in_poll(octets: bytes) -> bytes | None:
    """The EID in a BF4F as it came, of whatever size; None when it has none. Raises Malformed."""
    held = der.inside(octets, der.undouble(octets, der.read_one(octets)))
    return _said_eid(octets, held)


def _said_eid(data: bytes, held: list[Node]) -> bytes | None:
    return next((der.value(data, child) for child in held if child[0] == EID.tag), None)


def read_trigger_result(data: bytes, node: Node) -> TriggerResult:
    """The BF54 from an IPA. An unknown reason keeps its number."""
    parts: _Trigger = _TRIGGER.read(data, node)
    reason = parts.error.reason if parts.error else None
    return TriggerResult(parts.transaction_id, parts.installation, reason, der.whole(data, node))


def write_trigger_result(value: TriggerResult) -> bytes:
    """The BF54 TLV: `raw` when there is one."""
    if value.raw:
        return value.raw
    error = None if value.installation else _DownloadError(value.reason)
    return _TRIGGER.write(_Trigger(value.transaction_id, value.installation, error))


def read_provided(octets: bytes) -> ProvideEimPackageResult:
    """What one complete BF50 TLV brings, of v1.0.1 to v1.3. Raises Malformed only when its TLVs aren't sound.

    A device whose message is refused sends it for ever, so what can't be understood is Unreadable, and no error.
    """
    plain = read_result(octets)
    if plain is not None:
        (eid, envelope), (signed, signature, raw), said, codes = plain
        results = results_of_codes(codes)
        if results is not None:
            result = ResultSigned(signed, ResultData(*said, results), signature, raw)
            return ProvideEimPackageResult(result, eid, (), _ENVELOPES[envelope])
    return read_any_provided(octets)


def read_any_provided(octets: bytes) -> ProvideEimPackageResult:
    """The same in the general way, which takes every form."""
    node = der.undouble(octets, der.read_one(octets))
    if node[0] != PROVIDE_TAG:
        raise Malformed(f"tag {node[0]:X} is no ProvideEimPackageResult")
    return _read_provided(octets, node)


def _read_provided(data: bytes, node: Node) -> ProvideEimPackageResult:
    held = der.inside(data, node)
    eid = _said_eid(data, held)
    for child in held:
        if child[0] == der.SEQUENCE:
            return _read_with_notifications(data, child, eid)
        if child[0] in _PAYLOADS:
            return ProvideEimPackageResult(_read_payload(data, child), eid)
    return ProvideEimPackageResult(Unreadable(der.whole(data, node)), eid)


def _read_payload(data: bytes, node: Node) -> Payload:
    try:
        payload: Payload = _PAYLOADS[node[0]](data, node)
    except Malformed:
        return Unreadable(der.whole(data, node))
    return payload


def _read_with_notifications(data: bytes, node: Node, eid: bytes | None) -> ProvideEimPackageResult:
    held = {child[0]: child for child in reversed(der.inside(data, node))}
    result = _read_payload(data, held[RESULT_TAG]) if RESULT_TAG in held else Unreadable(der.whole(data, node))
    listed, envelope = Listed(), Envelope.LIST
    if RETRIEVED.tag in held:
        listed, envelope = RETRIEVED.read(data, held[RETRIEVED.tag]), Envelope.RETRIEVED
    elif _LIST_TAG in held:
        listed = LIST.read(data, held[_LIST_TAG])
    return ProvideEimPackageResult(result, eid, listed.notifications, envelope, listed.results, listed.unreadable)


def _read_error(data: bytes, node: Node) -> ResponseError:
    error: ResponseError = _RESPONSE_ERROR.read(data, node)
    return structs.replace(error, raw=der.whole(data, node))


def _read_bare_error(data: bytes, node: Node) -> ResponseError:
    return ResponseError(Integer().read(data, node), raw=der.whole(data, node))


_PAYLOADS: Final[dict[int, Any]] = {
    RESULT_TAG: read_package_result,
    DATA_TAG: read_data_response,
    TRIGGER_TAG: read_trigger_result,
    _ERROR_TAG: _read_error,
    _BARE_ERROR_TAG: _read_bare_error,
}


def write_provided(value: ProvideEimPackageResult) -> bytes:
    """The BF50 TLV."""
    return der.wrap(PROVIDE_TAG, _provided_content(value))


def _provided_content(value: ProvideEimPackageResult) -> bytes:
    eid = EID.write(value.eid) if value.eid is not None else b""
    payload = write_payload(value.payload)
    if value.envelope is Envelope.LIST:
        payload = der.wrap(der.SEQUENCE, payload + der.wrap(_LIST_TAG, NOTIFICATIONS.write(value.notifications)))
    elif value.envelope is Envelope.RETRIEVED:
        retrieved = RETRIEVED.write(Listed(value.notifications, value.results))
        payload = der.wrap(der.SEQUENCE, payload + retrieved)
    return eid + payload


def write_payload(value: Payload) -> bytes:
    """The alternative of EimPackageResult that `value` is."""
    match value:
        case ResultSigned() | ErrorSigned() | ErrorUnsigned():
            return write_package_result(value)
        case DataResponse() | DataError():
            return write_data_response(value)
        case TriggerResult():
            return write_trigger_result(value)
        case ResponseError():
            return value.raw or der.wrap(_ERROR_TAG, _RESPONSE_ERROR.write(value))
        case Unreadable():
            return value.raw


def read_handled(octets: bytes) -> HandleNotification:
    """The HandleNotification in one complete BF3D TLV. Raises Malformed, for what the notification says never."""
    held = der.inside(octets, der.undouble(octets, der.read_one(octets)))
    if len(held) != 1:
        raise Malformed(f"{len(held)} alternatives in HandleNotification")
    (node,) = held
    if node[0] == _NOTIFICATION_TAG:
        inside = der.inside(octets, node)
        return HandleNotification(der.whole(octets, inside[0] if len(inside) == 1 else node))
    carriers = {PROVIDE_TAG: Carrier.PROVIDE, _V1_0_1_TAG: Carrier.V1_0_1}
    if node[0] not in carriers:
        raise Malformed(f"tag {node[0]:X} in HandleNotification")
    return HandleNotification(_read_provided(octets, _without_provide_tag(octets, node)), carriers[node[0]])


def _without_provide_tag(data: bytes, node: Node) -> Node:
    """`node`, or the BF50 that is all it holds: some tools keep the inner tag under A1."""
    node = der.undouble(data, node)
    held = der.inside(data, node)
    return held[0] if len(held) == 1 and held[0][0] == PROVIDE_TAG else node


def write_handled(value: HandleNotification) -> bytes:
    """The BF3D TLV."""
    if isinstance(value.content, bytes):
        return der.wrap(HANDLE_TAG, der.wrap(_NOTIFICATION_TAG, value.content))
    tag = PROVIDE_TAG if value.carrier is Carrier.PROVIDE else _V1_0_1_TAG
    return der.wrap(HANDLE_TAG, der.wrap(tag, _provided_content(value.content)))
