"""Notifications a card leaves for an SM-DP+ (SGP.22 section 5.7, compact forms SGP.32 section 5.14.7)."""

from typing import Literal

import msgspec

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
