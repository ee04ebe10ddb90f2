"""What travels over `/v1` about one device's past: its trace and its timeline."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from msgspec import Meta, Struct

from eim import api

Minutes: TypeAlias = Annotated[int, Meta(ge=0, le=1440, description="how long it is traced from now on; 0: no more")]
Exchanges: TypeAlias = Annotated[int, Meta(ge=1, le=10_000, description="messages of the device that are kept at most")]
SourceName: TypeAlias = Literal["event", "order", "package", "result", "notification", "audit"]


class TraceOrder(api.Request, frozen=True):
    """Switch a device's trace on, or with 0 minutes off; what was kept stays until a day after its end."""

    minutes: Minutes = 30
    exchanges: Exchanges = 200


class TraceView(Struct, frozen=True):
    """Whether a device is traced: until when, and how many exchanges more."""

    until: datetime | None
    left: int


class TraceMessage(Struct, frozen=True):
    """One message, in hex. Secrets in it are stars; `size` is what travelled, `octets` ends at 16,384 of them."""

    id: UUID
    at: datetime
    direction: Literal["in", "out"]
    peer: str
    size: int
    octets: str


class TracePage(Struct, frozen=True):
    trace: TraceView
    items: tuple[TraceMessage, ...]
    next: str | None


class TimelineEntry(Struct, frozen=True):
    """One thing that happened. `next_step`: what to do about it, where something has gone wrong."""

    id: UUID
    at: datetime
    source: SourceName
    what: str
    data: Mapping[str, object]
    meaning: str | None
    next_step: str | None
    owner: str | None = None  # who has to act


class Visits(Struct, frozen=True):
    """The device's calls, of which no list is kept: the last one, and how often the package now out was given."""

    last_seen_at: datetime | None
    out_since: datetime | None
    deliveries: int


class TimelinePage(Struct, frozen=True):
    visits: Visits
    items: tuple[TimelineEntry, ...]
    next: str | None
