"""The ESipa messages around packages, results and notifications (SGP.32 section 6.3.2)."""

from enum import StrEnum

import msgspec

from eim.asn1.data import DataError, DataResponse
from eim.asn1.results import PackageResult


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


Payload = PackageResult | DataResponse | DataError | TriggerResult | ResponseError


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
    eid: bytes | None = None
    notifications: tuple[bytes, ...] = ()  # PendingNotification TLVs; none in a BARE envelope
    envelope: Envelope = Envelope.BARE


class Carrier(StrEnum):
    """What a HandleNotification carries a result in."""

    PROVIDE = "BF50"
    V1_0_1 = "A1"


class HandleNotification(msgspec.Struct, frozen=True):
    """BF3D from the IPA: one notification for an SM-DP+, or a result that wants no answer."""

    content: bytes | ProvideEimPackageResult  # bytes: one PendingNotification TLV
    carrier: Carrier = Carrier.PROVIDE
