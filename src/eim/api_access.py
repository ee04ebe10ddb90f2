"""What travels over `/v1` about who may do what: tenants, identities, tokens, audit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct

from eim.api import Cursor, EimIdText, Fields, Limit, Moment, Reason, Request, ScopeName, Tagged

_NO_NUL = r"^[^\x00]*$"

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._@-]+$")]
Scopes: TypeAlias = Annotated[tuple[ScopeName, ...], Meta(min_length=1, max_length=32)]
Word: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NO_NUL)]
Many: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Some: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class TenantLimits(Request, frozen=True):
    """What a tenant may have at most; null: no limit."""

    euiccs: Many | None = None
    tokens: Some | None = None
    orders_a_day: Many | None = None


class NewTenant(Request, frozen=True):
    name: Name
    limits: TenantLimits = TenantLimits()
    identity: EimIdText | None = None  # of the installation, shared with the tenant; without: its only one


class TenantChange(Request, frozen=True):
    """Replaces the limits."""

    limits: TenantLimits


class TenantView(Tagged, frozen=True):
    id: int
    name: str
    limits: TenantLimits
    created_at: datetime


class TenantList(Struct, frozen=True):
    items: tuple[TenantView, ...]


class IdentityView(Struct, frozen=True):
    """Who the eIM is to cards. `request` and `configuration` are what a factory loads (hex of the TLVs BF57 and 30)."""

    id: int
    eim_id: str
    eim_id_type: Literal["oid", "fqdn", "proprietary"]
    fqdn: str
    curve: str
    public_key: str
    initial_counter: int
    created_at: datetime
    retired_at: datetime | None
    request: str | None
    configuration: str | None
    warnings: tuple[str, ...]


class IdentityList(Struct, frozen=True):
    items: tuple[IdentityView, ...]


class Retirement(Request, frozen=True):
    """Why an identity takes no more eUICCs. `force`: even when it is the last one."""

    reason: Reason
    force: bool = False


class NewToken(Request, frozen=True):
    name: Name
    scopes: Scopes
    expires_at: Moment | None = None


class Rotation(Request, frozen=True):
    """How long the old secret works beside the new one."""

    grace_s: Annotated[int, Meta(ge=0, le=30 * 86_400, description="seconds")] = 0


class TokenCreated(Struct, frozen=True):
    """`token` is shown this once: the same request again (Idempotency-Key) is answered with null there."""

    id: UUID
    token: str | None

    def __repr__(self) -> str:
        return f"TokenCreated(id={self.id!r})"


class TokenView(Struct, frozen=True):
    id: UUID
    name: str
    scopes: tuple[str, ...]
    created_at: datetime | None
    expires_at: datetime | None


class TokenList(Struct, frozen=True):
    items: tuple[TokenView, ...]


class AuditQuery(Request, frozen=True):
    """Newest first. Each filter narrows down."""

    limit: Limit = 100
    cursor: Cursor | None = None
    actor: Word | None = None
    action: Annotated[Word, Meta(description="what the action starts with: `order.` or `order.place`")] | None = None
    subject: Annotated[Word, Meta(description="an EID, the id of an operation or order, a token's name")] | None = None
    since: Moment | None = None
    until: Moment | None = None
    fields: Fields | None = None


class AuditEntry(Struct, frozen=True):
    id: UUID
    at: datetime
    actor: str
    action: str
    subject: str
    data: Mapping[str, object]


class AuditPage(Struct, frozen=True):
    items: tuple[AuditEntry, ...]
    next: str | None
