"""What travels over `/v1` about eUICCs to which nothing goes out: suspected, denied, orphaned; and about deny-lists."""

from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct

from eim import api

Hex: TypeAlias = Annotated[str, Meta(min_length=8, max_length=128, pattern=r"^[0-9A-Fa-f:]+$")]
Ein: TypeAlias = Annotated[
    str, Meta(min_length=6, max_length=20, pattern=r"^[0-9]+$", description="the first digits of an EUM's EIDs")
]


class BarReason(api.Request, frozen=True):
    """Why it is done; it is kept in the audit."""

    reason: api.Reason


class BarredEuicc(Struct, frozen=True):
    """An eUICC to which nothing goes out, and why."""

    eid: str
    bar: api.BarView


class BarredQuery(api.Request, frozen=True):
    limit: api.Limit = 100
    cursor: api.Cursor | None = None


class BarredPage(Struct, frozen=True):
    items: tuple[BarredEuicc, ...]
    next: str | None


class NewDenial(api.Request, frozen=True):
    """Whom nothing goes out to: exactly one of `eid`, `ein`, `eum_key_id`, `fingerprint`, or `serial` with
    `issuer_key_id`."""

    reason: api.Reason
    eid: api.EidText | None = None
    ein: Ein | None = None
    eum_key_id: Hex | None = None  # subject key identifier of the EUM's certificate
    fingerprint: Hex | None = None  # SHA-256 of a certificate's DER, the card's or its EUM's
    serial: Annotated[str, Meta(min_length=1, max_length=80, pattern=r"^[0-9A-Fa-f:]+$")] | None = None  # in hex
    issuer_key_id: Hex | None = None  # authority key identifier of the certificate
    expires_at: api.Moment | None = None


class DenialView(Struct, frozen=True):
    """A denial. `mark` is what it names; it stands until it is lifted or expires."""

    id: UUID
    mark: str
    reason: str
    by: str
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lifted_why: str | None


class DenialQuery(api.Request, frozen=True):
    limit: api.Limit = 100
    cursor: api.Cursor | None = None
    ended: bool = False  # also those that stand no more


class DenialPage(Struct, frozen=True):
    items: tuple[DenialView, ...]
    next: str | None


class LiftQuery(api.Request, frozen=True):
    reason: api.Reason
