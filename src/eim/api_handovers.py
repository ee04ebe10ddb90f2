"""What the interface says of hand-overs between eIMs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from eim.api import EidText, Reason, Request
from eim.api_access import Word

StageName = Literal[
    "proving", "removing", "adding", "listing", "waiting", "deleting", "undoing", "done", "failed", "undone"
]
Eids = Annotated[tuple[EidText, ...], Meta(min_length=1, max_length=10_000)]


class NewHandover(Request, frozen=True):
    """`out`: add the eIM of `configuration` to these cards, prove that it is there, delete ours. `in`: prove that these
    cards obey us, and (`delete_other`) delete the eIM `eim_id` that brought us there."""

    direction: Literal["in", "out"]
    eids: Eids
    reason: Reason
    configuration: (
        Annotated[
            str,
            Meta(
                min_length=4,
                max_length=20_000,
                pattern="^([0-9A-Fa-f]{2})+$",
                description="of the new eIM: EimConfigurationData (30 ..) or AddInitialEimRequest (BF57 ..), hex",
            ),
        ]
        | None
    ) = None
    eim_id: Word | None = None
    after_contact: Annotated[
        bool, Meta(description="out: ours goes only after `:confirm` says that the card called the new eIM")
    ] = False
    delete_other: bool = False
    confirm: Annotated[int, Meta(ge=1, description="how many eUICCs are meant")] | None = None


class HandoverBegun(Struct, frozen=True):
    id: UUID
    cards: int


class HandoverQuery(Request, frozen=True):
    stage: StageName | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class HandoverConfirmation(Request, frozen=True):
    """Which cards were seen to call the other eIM; without `eids`: all of it."""

    eids: Eids | None = None


class HandoverAbort(Request, frozen=True):
    reason: Reason


class HandoverCard(Struct, frozen=True):
    eid: str
    stage: StageName
    operation: UUID | None
    reason: str | None
    confirmed_at: datetime | None
    changed_at: datetime


class HandoverView(Struct, frozen=True):
    """`stages`: how many cards are where."""

    id: UUID
    direction: str
    eim_id: str
    after_contact: bool
    delete_other: bool
    size: int
    reason: str
    ordered_by: str
    created_at: datetime
    aborted_at: datetime | None
    stages: Mapping[str, int]
    cards: tuple[HandoverCard, ...]


class HandoverList(Struct, frozen=True):
    items: tuple[HandoverView, ...]
