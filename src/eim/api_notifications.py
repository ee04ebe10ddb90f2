"""What travels over `/v1` about notifications and the SM-DP+ that they are for."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from eim.api import Cursor, EidText, IccidText, Limit, Reason, Request, Tagged

_NO_NUL = r"^[^\x00]*$"

Address: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=260, pattern=_NO_NUL, description="host or host:port of an SM-DP+")
]
NotificationState: TypeAlias = Literal["stored", "waiting", "held", "delivered", "given_up"]
NotificationEvent: TypeAlias = Literal["install", "enable", "disable", "delete"]
BindingName: TypeAlias = Literal["json", "asn1"]
RootsName: TypeAlias = Literal["gsma", "gsma-brainpool", "web"]
Network: TypeAlias = Annotated[str, Meta(min_length=1, max_length=50, pattern=_NO_NUL, description="as 10.1.0.0/16")]
Networks: TypeAlias = Annotated[tuple[Network, ...], Meta(max_length=16)]
Protocol: TypeAlias = Annotated[
    str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){2}$", description="of SGP.22, as X-Admin-Protocol says it")
]
Description: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NO_NUL)]


class NotificationQuery(Request, frozen=True):
    """Oldest first."""

    limit: Limit = 100
    cursor: Cursor | None = None
    state: NotificationState | None = None
    eid: EidText | None = None
    iccid: IccidText | None = None
    event: NotificationEvent | None = None
    address: Address | None = None


class NotificationView(Struct, frozen=True):
    """One notification. `reason` says why it is held, `means`, `owner` and `next_step` what that is to whom;
    `failure` is of the last try, `due_at` the time of the next; `octets` are as the card gave them, in hex."""

    id: UUID
    eid: str
    iccid: str | None
    event: str | None
    address: str | None
    seq_number: int | None
    kind: str | None
    verdict: Literal["verified", "unverified", "refused"] | None
    state: NotificationState
    received_at: datetime
    attempts: int
    tried_at: datetime | None
    due_at: datetime | None
    failure: str | None
    reason: str | None
    means: str | None
    owner: str | None
    next_step: str | None
    delayed_at: datetime | None
    settled_at: datetime | None
    settled_by: str | None
    octets: str


class NotificationPage(Struct, frozen=True):
    items: tuple[NotificationView, ...]
    next: str | None


class GivingUp(Request, frozen=True):
    """Why it goes nowhere."""

    reason: Reason


class NewSmdp(Request, frozen=True):
    """An SM-DP+ that notifications may go to. `networks`: those it may lie in although they are not public."""

    address: Address
    description: Description | None = None
    binding: BindingName = "json"
    roots: RootsName = "gsma"
    networks: Networks = ()
    protocol: Protocol = "2.1.0"
    enabled: bool = True


class SmdpChange(Request, frozen=True):
    """What is given is replaced, the rest stays. `enabled` false: what is for it is held until it is true again."""

    description: Description | UnsetType | None = UNSET
    binding: BindingName | UnsetType = UNSET
    roots: RootsName | UnsetType = UNSET
    networks: Networks | UnsetType = UNSET
    protocol: Protocol | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class SmdpView(Tagged, frozen=True):
    """`failing_since` and `failure` say how calls go. `released`: how many notifications waited for this change."""

    address: str
    description: str | None
    binding: BindingName
    roots: RootsName
    networks: tuple[str, ...]
    protocol: str
    enabled: bool
    created_at: datetime
    delivered_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    released: int = 0


class SmdpPage(Struct, frozen=True):
    items: tuple[SmdpView, ...]
    next: str | None


class SmdpQuery(Request, frozen=True):
    limit: Limit = 100
    cursor: Cursor | None = None
