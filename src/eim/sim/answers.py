"""The octets a card answers with, in the shape of its version and of its habits (SGP.32 sections 2.11.2.1, 5.14.7)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import EuiccPackageSigned
from eim.domain.euicc import SignatureForm, Speaks
from eim.sim.der import bits, integer, text, tlv
from eim.sim.pki import Credentials
from eim.sim.profiles import Profile
from eim.sim.psmo import Event
from eim.sim.switches import PLACEHOLDER, NotificationForm, Switches, UnsignedErrors, sign

_TRANSACTION_LENGTH: Final = 16
_SMDP_OID: Final = bytes.fromhex("060388370A")  # 2.999.10, of the SM-DP+ whose profiles are installed here
_INSTALLED: Final = bytes.fromhex("3007A0053003800100")  # simaResponse: ok


class Hand(msgspec.Struct, frozen=True):
    """With what a card signs, and how."""

    credentials: Credentials
    switches: Switches


class Request(msgspec.Struct, frozen=True):
    """The package that is answered, and what its answer is signed for."""

    package: EuiccPackageSigned
    signature: bytes  # the eIM's
    token: int | None  # of the association when the package came


def result(hand: Hand, request: Request, seq: int, results: Sequence[bytes]) -> bytes:
    """BF51 with what the operations came to."""
    data = tlv(0x30, _head(request.package), integer(0x83, seq), tlv(0x30, *results))
    return tlv(0xBF51, tlv(hand.switches.shape.value, data, _signature(hand, request, data)))


def refused(hand: Hand, request: Request, code: int) -> bytes:
    """BF51 with a signed error for the whole package."""
    data = tlv(0x30, _head(request.package), integer(0x02, code))
    return tlv(0xBF51, tlv(0xA1, data, _signature(hand, request, data)))


def unsigned(hand: Hand, package: EuiccPackageSigned, token: int | None, code: int) -> bytes:
    """BF51 with an error that proves nothing. Its code travels since v1.3, the transaction since v1.1."""
    speaks = hand.switches.speaks
    transaction = b"" if speaks is Speaks.V1_0_1 else _transaction(package)
    told = hand.switches.unsigned is UnsignedErrors.WITH_TOKEN and token is not None
    shown = integer(0x84, token or 0) if told else b""
    said = integer(0x8F, code) if speaks is Speaks.V1_3 else b""
    return tlv(0xBF51, tlv(0xA2, text(0x80, package.eim_id), transaction, shown, said))


def associated(token: int | None) -> bytes:
    """The associationToken object behind signed data: zero when there is none, never left out."""
    return integer(0x84, token or 0)


def notification(hand: Hand, event: Event, profile: Profile, seq: int) -> bytes:
    """A PendingNotification: OtherSignedNotification or its compact form; of an installation the result of it."""
    if event is Event.INSTALL:
        return _installation(hand, profile, seq)
    metadata, credentials = _metadata(event, profile, seq), hand.credentials
    signature = _plain_signature(hand, metadata)
    if hand.switches.notifications is NotificationForm.FULL:
        return tlv(0x30, metadata, signature, credentials.euicc_certificate, credentials.eum_certificate)
    speaks = hand.switches.speaks
    named = tlv(0x5A, credentials.eid) if speaks in (Speaks.V1_2, Speaks.V1_3) else b""
    issuer = tlv(0x04, credentials.ci_key_id) if speaks is Speaks.V1_3 else b""
    return tlv(0xA1, named, metadata, signature, issuer)


def _installation(hand: Hand, profile: Profile, seq: int) -> bytes:
    """BF37: the ProfileInstallationResult of a download that went well."""
    done = tlv(0xA0, tlv(0x4F, profile.aid), tlv(0x04, _INSTALLED))
    transaction = tlv(0x80, seq.to_bytes(_TRANSACTION_LENGTH, "big"))
    data = tlv(0xBF27, transaction, _metadata(Event.INSTALL, profile, seq), _SMDP_OID, tlv(0xA2, done))
    return tlv(0xBF37, data, _plain_signature(hand, data))


def _metadata(event: Event, profile: Profile, seq: int) -> bytes:
    address = text(0x0C, profile.notify or "")
    return tlv(0xBF2F, integer(0x80, seq), bits(0x81, event.value), address, tlv(0x5A, profile.iccid))


def _plain_signature(hand: Hand, data: bytes) -> bytes:
    return tlv(0x5F37, sign(hand.credentials.key, data, hand.switches.coding))


def _signature(hand: Hand, request: Request, data: bytes) -> bytes:
    form = hand.switches.form
    if form is SignatureForm.NONE:
        return tlv(0x5F37, PLACEHOLDER)
    behind = associated(request.token if form is SignatureForm.TOKEN else None)
    if form is SignatureForm.EIM_SIGNATURE:
        behind = tlv(0x5F37, request.signature)
    return _plain_signature(hand, data + behind)


def _head(package: EuiccPackageSigned) -> bytes:
    return text(0x80, package.eim_id) + integer(0x81, package.counter) + _transaction(package)


def _transaction(package: EuiccPackageSigned) -> bytes:
    return b"" if package.transaction_id is None else tlv(0x82, package.transaction_id)
