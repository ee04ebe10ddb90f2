"""ESipa: what an IPA sends us and what we may answer. Pure: octets in, values out (SGP.32 section 6.3.2)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from eim._fast.answers import acknowledged, coded, enveloped
from eim._fast.esipa import read_poll as read_plain_poll
from eim.asn1 import der, sgp32
from eim.asn1.data import is_v1_0_1
from eim.asn1.esipa import eid_in_poll, read_poll
from eim.asn1.kinds import Integer
from eim.asn1.packages import TRANSACTION
from eim.asn1.schema import Tagged
from eim.asn1.sgp32 import (
    Carrier,
    DataError,
    DataResponse,
    Envelope,
    GetEimPackageRequestV101,
    HandleNotification,
    PackageResult,
    Payload,
    PendingNotification,
    ProvideEimPackageResult,
    ResponseError,
    Unreadable,
)
from eim.domain.euicc import Speaks
from eim.errors import Malformed


class Poll(msgspec.Struct, frozen=True):
    """GetEimPackage: has the eIM anything for this eUICC?"""

    eid: bytes  # 16 octets, said and not proven
    state_change: bool  # our view of the profiles is stale
    cause: int | None
    plmn: bytes | None  # 3 octets as TS 24.008
    speaks: Speaks | None  # None: nothing in it tells
    raw: bytes


class UnnamedPoll(msgspec.Struct, frozen=True):
    """GetEimPackage that names no eUICC: nothing to look for, and the IPA is told why."""

    error: int  # for `poll_error`: 3 invalidEid, 4 missingEid
    raw: bytes


class Provided(msgspec.Struct, frozen=True):
    """ProvideEimPackageResult, also inside a HandleNotification."""

    eid: bytes | None  # as it came: perhaps not of 16 octets
    payload: Payload
    notifications: tuple[bytes, ...]  # PendingNotification TLVs, perhaps unreadable ones
    results: tuple[PackageResult, ...]  # more results, listed beside the payload
    unreadable: tuple[bytes, ...]  # TLVs in that list that are neither
    speaks: Speaks | None
    wants_answer: bool  # False: it came as a HandleNotification, answered by 204
    raw: bytes


class Notified(msgspec.Struct, frozen=True):
    """HandleNotification with a notification for an SM-DP+."""

    notification: PendingNotification | Unreadable
    raw: bytes


class Download(msgspec.Struct, frozen=True):
    """A step of an indirect download: BF39, BF3B, BF3A or BF41."""

    tag: int
    transaction_id: bytes | None
    raw: bytes


Received = Poll | UnnamedPoll | Provided | Notified | Download

NO_PACKAGE: Final = bytes.fromhex("BF4F03020101")

_POLL: Final = 0xBF4F
_PROVIDE: Final = 0xBF50
_PROVIDE_OCTETS: Final = _PROVIDE.to_bytes(2, "big")
_HANDLE: Final = 0xBF3D
_EID_OCTETS: Final = 16
_INVALID_EID: Final = 3
_MISSING_EID: Final = 4
_PLMN_V1_0_1: Final = 0x81  # where v1.0.1 puts the PLMN
_EMPTY_V1_0_1: Final = bytes.fromhex("BF5003BF5300")  # an empty BF53: every version decodes it
_EMPTY: Final = bytes.fromhex("BF50023000")
_BARE: Final = bytes.fromhex("BF4F125A10")
_PACKAGES: Final = (b"\xbf\x51", b"\xbf\x52", b"\xbf\x54")


class _Step(msgspec.Struct, frozen=True):
    """A step of an indirect download: where its transaction id is, and how to say that we don't know that one."""

    transaction_tag: int
    refusal: Tagged
    code: int


_STEPS: Final = {
    0xBF39: _Step(0x82, Tagged(0x81, Integer()), 127),  # undefinedError
    0xBF3B: _Step(0x80, Tagged(0x82, Integer()), 10),  # invalidTransactionId
    0xBF3A: _Step(0x80, Tagged(0x81, Integer()), 95),  # invalidTransactionId
    0xBF41: _Step(0x80, Tagged(0x81, Integer()), 1),  # invalidTransactionId
}


def receive(octets: bytes) -> Received:
    """The message in `octets`, of any version and in any shape that IPAs are known to send. Raises Malformed."""
    plain = read_plain_poll(octets)
    if plain is not None:
        return _plain_poll(octets, plain)
    if octets.startswith(_PROVIDE_OCTETS):
        return _provided(sgp32.decode(ProvideEimPackageResult, octets), None, octets)
    tag, *_ = node = der.read_one(octets)
    if tag == _POLL:
        return _general_poll(octets)
    if tag == _HANDLE:
        return _handled(octets)
    if tag in _STEPS:
        return _download(octets, node)
    raise Malformed(f"tag {tag:X} is no message from an IPA")


def bare_poll(eid: bytes) -> Poll:
    """The poll that says `eid`, of 16 octets, and nothing else."""
    return Poll(eid, False, None, None, None, _BARE + eid)


def _plain_poll(octets: bytes, plain: tuple[bytes, bool, int, bytes | None, int]) -> Poll:
    eid, state_change, cause, plmn, plmn_tag = plain
    speaks = None
    if plmn_tag == _PLMN_V1_0_1:
        speaks = Speaks.V1_0_1
    elif cause >= 0 or plmn is not None:
        speaks = Speaks.V1_2
    return Poll(eid, state_change, cause if cause >= 0 else None, plmn, speaks, octets)


def _general_poll(octets: bytes) -> Poll | UnnamedPoll:
    eid = eid_in_poll(octets)
    if eid is None or len(eid) != _EID_OCTETS:
        return UnnamedPoll(_MISSING_EID if eid is None else _INVALID_EID, octets)
    poll = read_poll(octets)
    if isinstance(poll, GetEimPackageRequestV101):
        return Poll(poll.eid, poll.state_change, None, poll.plmn, Speaks.V1_0_1, octets)
    speaks = None if poll.cause is None and poll.plmn is None else Speaks.V1_2
    return Poll(poll.eid, poll.state_change, poll.cause, poll.plmn, speaks, octets)


def _provided(value: ProvideEimPackageResult, carrier: Carrier | None, raw: bytes) -> Provided:
    return Provided(
        eid=value.eid,
        payload=value.payload,
        notifications=value.notifications,
        results=value.results,
        unreadable=value.unreadable,
        speaks=Speaks.V1_0_1 if carrier is Carrier.V1_0_1 else _spoken(value),
        wants_answer=carrier is None,
        raw=raw,
    )


def _spoken(value: ProvideEimPackageResult) -> Speaks | None:
    """The version the shape tells: what came with v1.1 (EID, list, tagged error), and what v1.0.1 alone writes."""
    payload = value.payload
    tagged = isinstance(payload, ResponseError) and payload.raw[:1] == b"\xa0"
    if value.eid is not None or value.envelope is Envelope.LIST or tagged:
        return Speaks.V1_2
    old = value.envelope is Envelope.RETRIEVED
    old = old or (isinstance(payload, ResponseError) and payload.raw[:1] == b"\x02")
    old = old or (isinstance(payload, DataResponse | DataError) and is_v1_0_1(payload.raw))
    return Speaks.V1_0_1 if old else None


def _handled(octets: bytes) -> Provided | Notified:
    handled = sgp32.decode(HandleNotification, octets)
    if isinstance(handled.content, bytes):
        return Notified(_notification(handled.content), octets)
    return _provided(handled.content, handled.carrier, octets)


def _notification(octets: bytes) -> PendingNotification | Unreadable:
    try:
        return sgp32.decode(PendingNotification, octets)
    except Malformed:
        return Unreadable(octets)


def _download(octets: bytes, node: der.Node) -> Download:
    held = der.inside(octets, der.undouble(octets, node))
    tag = _STEPS[node[0]].transaction_tag
    transaction = next((TRANSACTION.read(octets, child) for child in held if child[0] == tag), None)
    return Download(node[0], transaction, octets)


def package_answer(sealed: bytes) -> bytes:
    """The answer to a poll that carries `sealed`, one complete BF51, BF52 or BF54 TLV, as it is."""
    if not sealed.startswith(_PACKAGES):
        raise ValueError("a package is a complete BF51, BF52 or BF54 TLV")
    return enveloped(_POLL, sealed)


def poll_error(code: int) -> bytes:
    """The answer to a poll that gets none: 1 no package, 2 eidNotFound, 3 invalidEid, 4 missingEid, 127."""
    return coded(_POLL, code)


def acknowledgement(seq_numbers: Sequence[int], speaks: Speaks | None) -> bytes:
    """The answer to a result: the card may forget these, so give it only once they are stored.

    With nothing to acknowledge it is emptyResponse; where the version is not known, an empty list, which all decode.
    """
    if not seq_numbers:
        return _EMPTY_V1_0_1 if speaks in (None, Speaks.V1_0_1) else _EMPTY
    return acknowledged(_PROVIDE, seq_numbers)


def provide_error(code: int) -> bytes:
    """The answer to a result we can't take: 2 eidNotFound, 3 invalidEid, 4 missingEid, 127."""
    return coded(_PROVIDE, code)


def download_refusal(received: Download) -> bytes:
    """The answer to a download step of a session we don't know."""
    step = _STEPS[received.tag]
    return der.wrap(received.tag, step.refusal.write(step.code))
