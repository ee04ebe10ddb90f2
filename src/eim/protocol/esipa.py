"""ESipa: what an IPA sends us and what we may answer. Pure: octets in, values out (SGP.32 section 6.3.2)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import Payload, PendingNotification
from eim.domain.euicc import Speaks


class Poll(msgspec.Struct, frozen=True):
    """GetEimPackage: has the eIM anything for this eUICC?"""

    eid: bytes  # 16 octets, said and not proven
    state_change: bool  # our view of the profiles is stale
    cause: int | None
    plmn: bytes | None  # 3 octets as TS 24.008
    speaks: Speaks | None  # None: nothing in it tells
    raw: bytes


class Provided(msgspec.Struct, frozen=True):
    """ProvideEimPackageResult, also inside a HandleNotification."""

    eid: bytes | None
    payload: Payload
    notifications: tuple[bytes, ...]  # PendingNotification TLVs
    speaks: Speaks | None
    wants_answer: bool  # False: it came as a HandleNotification, answered by 204
    raw: bytes


class Notified(msgspec.Struct, frozen=True):
    """HandleNotification with a notification for an SM-DP+."""

    notification: PendingNotification
    raw: bytes


class Download(msgspec.Struct, frozen=True):
    """A step of an indirect download: BF39, BF3B, BF3A or BF41."""

    tag: int
    transaction_id: bytes | None
    raw: bytes


Received = Poll | Provided | Notified | Download

NO_PACKAGE: Final = bytes.fromhex("BF4F03020101")


def receive(octets: bytes) -> Received:
    """The message in `octets`. Raises Malformed."""
    raise NotImplementedError


def package_answer(sealed: bytes) -> bytes:
    """The answer to a poll that carries `sealed`, one complete BF51, BF52 or BF54 TLV."""
    raise NotImplementedError


def poll_error(code: int) -> bytes:
    """The answer to a poll that gets none: 1 no package, 2 eidNotFound, 3 invalidEid, 4 missingEid, 127."""
    raise NotImplementedError


def acknowledgement(seq_numbers: Sequence[int], speaks: Speaks | None) -> bytes:
    """The answer to a result: the card may forget these. Only after they are stored."""
    raise NotImplementedError


def provide_error(code: int) -> bytes:
    """The answer to a result we can't take: 2 eidNotFound, 3 invalidEid, 4 missingEid, 127."""
    raise NotImplementedError


def download_refusal(received: Download) -> bytes:
    """The answer to a download step of a session we don't know."""
    raise NotImplementedError
