"""What the interface says of associations: keys, moves to newer ones, and cards that stall."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from eim.api import EidText, Reason, Request
from eim.api_access import Word


class KeyView(Struct, frozen=True):
    """One key of an identity. `euiccs` obey it; of them, `moving` have an order to leave it."""

    number: Annotated[int, Meta(description="0: the first one")]
    curve: str
    public_key: Annotated[str, Meta(description="SubjectPublicKeyInfo, hex")]
    created_at: datetime
    euiccs: int
    moving: int
    loaded: Annotated[bool, Meta(description="factories load new eUICCs with it")]
    retired: bool


class KeyList(Struct, frozen=True):
    items: tuple[KeyView, ...]


class KeyMove(Request, frozen=True):
    """Which eUICCs of the identity are to obey its newest key: those with a tag, those named, or all on older ones.

    `new_count`: their counter begins anew with it; without, only where it is above 90 % of its ceiling.
    """

    reason: Reason
    tag: Word | None = None
    eids: Annotated[tuple[EidText, ...], Meta(min_length=1, max_length=10_000)] | None = None
    new_count: bool = False
    confirm: Annotated[int, Meta(ge=0, description="how many eUICCs are meant")] | None = None
    most: Annotated[int, Meta(ge=1, le=10_000, description="of this call; the next one goes on")] = 10_000


class KeyMoving(Struct, frozen=True):
    """What was ordered. `left`: eUICCs that this call did not take. `order` is null when there was nobody to move."""

    order: UUID | None
    key: int
    ordered: int
    left: int


class KeyChoice(Request, frozen=True):
    """One of the identity's keys, and why."""

    number: Annotated[int, Meta(ge=0, le=32_767)]
    reason: Reason


class Resumption(Request, frozen=True):
    """Why a stalled eUICC goes on."""

    reason: Reason


class Resumed(Struct, frozen=True):
    eid: str
