"""The ESipa messages of a device, in the shape of each SGP.32 version (section 6.3.2)."""

from collections.abc import Sequence
from typing import Final

from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.sim.behaviour import Carrier, Naming
from eim.sim.der import integer, read, tlv, whole

ROLLBACK_REQUEST: Final = tlv(0xBF58, tlv(0x80, b"\xff"))  # with REFRESH
INVALID_PACKAGE_FORMAT: Final = 1
UNDEFINED_ERROR: Final = 127


def poll(eid: Eid, speaks: Speaks, plmn: bytes | None, cause: int | None) -> bytes:
    """GetEimPackageRequest; `cause` set: the card's state changed, and why."""
    members = [tlv(0x5A, eid)]
    if cause is not None:
        members.append(tlv(0x80))
    if speaks is Speaks.V1_0_1:
        members.append(b"" if plmn is None else tlv(0x81, plmn))
    else:
        members.append(b"" if cause is None else integer(0x81, cause))
        members.append(b"" if plmn is None else tlv(0x82, plmn))
    return tlv(0xBF4F, *members)


def result_with(result: bytes, notifications: Sequence[bytes], speaks: Speaks) -> bytes:
    """A result and the card's notifications; v1.0.1 lists them even when there are none, as its one open IPA does."""
    if speaks is Speaks.V1_0_1:
        return tlv(0x30, result, tlv(0xBF2B, tlv(0xA0, *notifications)))
    return tlv(0x30, result, tlv(0xA0, *notifications)) if notifications else result


def response_error(code: int, transaction: bytes | None, speaks: Speaks) -> bytes:
    """What the IPA says in the place of a result."""
    if speaks is Speaks.V1_0_1:
        return integer(0x02, code)
    return tlv(0xA0, b"" if transaction is None else tlv(0x80, transaction), integer(0x02, code))


def no_download(transaction: bytes | None, speaks: Speaks, code: int = UNDEFINED_ERROR) -> bytes:
    """ProfileDownloadTriggerResult of a device that doesn't download, for `code`."""
    reason = b"" if speaks is Speaks.V1_0_1 else integer(0x80, code)
    return tlv(0xBF54, b"" if transaction is None else tlv(0x82, transaction), tlv(0x30, reason))


def provide(payload: bytes, eid: Eid, speaks: Speaks, naming: Naming, carrier: Carrier) -> bytes:
    """ProvideEimPackageResult around `payload`, or HandleNotification around that."""
    old = speaks is Speaks.V1_0_1
    named = b"" if old or naming is Naming.UNNAMED else tlv(0x5A, eid)
    if carrier is Carrier.PROVIDE:
        return tlv(0xBF50, named, payload)
    return tlv(0xBF3D, tlv(0xA1 if old else 0xBF50, named, payload))


def notification(pending: bytes) -> bytes:
    """HandleNotification of one PendingNotification."""
    return tlv(0xBF3D, tlv(0xA0, pending))


def acknowledged(answer: bytes) -> tuple[int, ...]:
    """The sequence numbers that a ProvideEimPackageResultResponse lets the card forget. Raises Malformed."""
    inside = list(read(whole(answer, 0xBF50).value))
    lists = [found.value for found in inside if found.tag == 0xBF53]
    return tuple(int.from_bytes(seq.value, "big") for value in lists for seq in read(value) if seq.tag == 0x80)


def transaction_of(package: bytes) -> bytes | None:
    """The eimTransactionId of a BF51, BF52 or BF54; None when it has none. Raises Malformed."""
    (outer,) = read(package)
    match outer.tag:
        case 0xBF51:
            signed = next((found.value for found in read(outer.value) if found.tag == 0x30), b"")
            return next((found.value for found in read(signed) if found.tag == 0x82), None)
        case 0xBF52:
            return next((found.value for found in read(outer.value) if found.tag == 0x83), None)
        case _:
            return transaction_in(outer.value)


def transaction_in(trigger: bytes) -> bytes | None:
    """The eimTransactionId of a BF54. Raises Malformed."""
    return next((found.value for found in read(trigger) if found.tag == 0x82), None)


def result_in(rollback_answer: bytes) -> bytes | None:
    """The BF51 in a ProfileRollbackResponse; None when the card refused. Raises Malformed."""
    inside = read(whole(rollback_answer, 0xBF58).value)
    return next((found.raw for found in inside if found.tag == 0xBF51), None)
