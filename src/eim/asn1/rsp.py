"""Notifications a card leaves for an SM-DP+ (SGP.22 section 5.7, compact forms SGP.32 section 5.14.7)."""

from typing import Final, Literal

import msgspec

from eim.asn1 import der
from eim.asn1.kinds import Bits, Integer, Octets, Text
from eim.asn1.packages import EID, ICCID
from eim.asn1.schema import Member, Opaque, Sequence, Tagged
from eim.errors import Malformed

NotificationKind = Literal[
    "profileInstallationResult",
    "otherSignedNotification",
    "compactProfileInstallationResult",
    "compactOtherSignedNotification",
]


class NotificationMetadata(msgspec.Struct, frozen=True):
    """BF2F."""

    seq_number: int
    events: frozenset[int]  # 0 install, 1 enable, 2 disable, 3 delete; a sound one has exactly one
    address: str  # host[:port] of the SM-DP+
    iccid: bytes | None = None


class PendingNotification(msgspec.Struct, frozen=True):
    """One notification, as much as the eIM needs to acknowledge, verify and route it."""

    kind: NotificationKind
    seq_number: int | None
    event: str | None  # "install", "enable", "disable", "delete"; None when not exactly one is named
    address: str | None
    iccid: bytes | None
    signed: bytes  # the octets the signature covers: BF27 or BF2F TLV; empty in a compact installation result
    signature: bytes  # content of 5F37
    euicc_certificate: bytes | None = None
    eum_certificate: bytes | None = None
    eid: bytes | None = None  # only a compactOtherSignedNotification says it
    raw: bytes = b""


EVENTS: Final = ("install", "enable", "disable", "delete")
TAGS: Final = (0xBF37, 0x30, 0xA0, 0xA1)  # of the four kinds, in the order of NotificationKind
_METADATA_TAG: Final = 0xBF2F
_CERTIFICATE: Final = Opaque((der.SEQUENCE,))
_SIGNATURE: Final = Tagged(0x5F37, Octets())

METADATA: Final = Tagged(
    _METADATA_TAG,
    Sequence(
        NotificationMetadata,
        (
            Member("seq_number", Tagged(0x80, Integer())),
            Member("events", Tagged(0x81, Bits())),
            Member("address", Tagged(0x0C, Text())),
            Member("iccid", ICCID, None),
        ),
    ),
)


class _Installation(msgspec.Struct, frozen=True):
    """BF27, of which the eIM reads the metadata only."""

    metadata: NotificationMetadata


class _Signed(msgspec.Struct, frozen=True):
    """The parts that the kinds of notification have in common."""

    tbs: _Installation | NotificationMetadata
    signed: bytes
    signature: bytes
    euicc_certificate: bytes | None = None
    eum_certificate: bytes | None = None
    eid: bytes | None = None


class _CompactInstallation(msgspec.Struct, frozen=True):
    seq_number: int


class _Compact(msgspec.Struct, frozen=True):
    tbs: _CompactInstallation
    signature: bytes


_KINDS: Final[dict[int, tuple[NotificationKind, Sequence]]] = {
    0xBF37: (
        "profileInstallationResult",
        Sequence(
            _Signed,
            (
                Member("tbs", Tagged(0xBF27, Sequence(_Installation, (Member("metadata", METADATA),))), kept="signed"),
                Member("signature", _SIGNATURE),
            ),
        ),
    ),
    0x30: (
        "otherSignedNotification",
        Sequence(
            _Signed,
            (
                Member("tbs", METADATA, kept="signed"),
                Member("signature", _SIGNATURE),
                Member("euicc_certificate", _CERTIFICATE, None),
                Member("eum_certificate", _CERTIFICATE, None),
            ),
        ),
    ),
    0xA0: (
        "compactProfileInstallationResult",
        Sequence(
            _Compact,
            (
                Member(
                    "tbs",
                    Tagged(0xA0, Sequence(_CompactInstallation, (Member("seq_number", Tagged(0x02, Integer())),))),
                ),
                Member("signature", _SIGNATURE),
            ),
        ),
    ),
    0xA1: (
        "compactOtherSignedNotification",
        Sequence(
            _Signed,
            (
                Member("eid", EID, None),
                Member("tbs", METADATA, kept="signed"),
                Member("signature", _SIGNATURE),
            ),
        ),
    ),
}


def read_notification(octets: bytes) -> PendingNotification:
    """The PendingNotification in one complete TLV. Raises Malformed."""
    node = der.read_one(octets)
    if node[0] not in _KINDS:
        raise Malformed(f"tag {node[0]:X} is no notification")
    kind, sequence = _KINDS[node[0]]
    parts = sequence.read(octets, der.undouble(octets, node) if node[0] == TAGS[0] else node)
    if isinstance(parts, _Compact):
        seq = parts.tbs.seq_number
        return PendingNotification(kind, seq, "install", None, None, b"", parts.signature, raw=octets)
    if not isinstance(parts, _Signed):
        raise Malformed("no notification")
    return _of(kind, parts, octets)


def _of(kind: NotificationKind, parts: _Signed, raw: bytes) -> PendingNotification:
    metadata = parts.tbs.metadata if isinstance(parts.tbs, _Installation) else parts.tbs
    return PendingNotification(
        kind=kind,
        seq_number=metadata.seq_number,
        event=_event(metadata.events),
        address=metadata.address,
        iccid=metadata.iccid,
        signed=parts.signed,
        signature=parts.signature,
        euicc_certificate=parts.euicc_certificate,
        eum_certificate=parts.eum_certificate,
        eid=parts.eid,
        raw=raw,
    )


def _event(events: frozenset[int]) -> str | None:
    if len(events) != 1:
        return None
    (number,) = events
    return EVENTS[number] if number < len(EVENTS) else None


def write_notification(value: PendingNotification) -> bytes:
    """The TLV of a notification: `raw` when there is one, else made of `signed`, the signature and the certificates."""
    if value.raw:
        return value.raw
    parts = value.signed + _SIGNATURE.write(value.signature)
    if value.kind == "otherSignedNotification":
        return der.wrap(0x30, parts + (value.euicc_certificate or b"") + (value.eum_certificate or b""))
    if value.kind == "compactOtherSignedNotification":
        return der.wrap(0xA1, (EID.write(value.eid) if value.eid else b"") + parts)
    if value.kind == "profileInstallationResult":
        return der.wrap(0xBF37, parts)
    raise ValueError("a compact installation result is written from its octets only: give `raw`")
