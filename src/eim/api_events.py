"""What travels over `/v1` about events and webhooks."""

from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from eim.api import Cursor, EidText, Limit, Moment, Request, Tag, Tagged
from eim.domain.event import CloudEvent

_NO_NUL = r"^[^\x00]*$"

Place: TypeAlias = Annotated[
    str, Meta(pattern=r"^[0-9]{1,18}$", description="`place` or `next` of a page, or the id of an event in a stream")
]
TypePattern: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"^[a-z_.*]+$", description="eim.operation.done, eim.operation.*")
]
Types: TypeAlias = Annotated[
    str, Meta(max_length=1000, pattern=r"^[a-z_.*]+(,[a-z_.*]+)*$", description="types or eim.noun.*, with commas")
]
Url: TypeAlias = Annotated[str, Meta(min_length=8, max_length=2000, pattern=_NO_NUL)]
Description: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NO_NUL)]
TypePatterns: TypeAlias = Annotated[tuple[TypePattern, ...], Meta(max_length=64)]
Tags: TypeAlias = Annotated[tuple[Tag, ...], Meta(max_length=64)]


class EventQuery(Request, frozen=True):
    """Oldest first, behind `cursor`, or since a time; without both: of the last 24 hours. A stream: from now on."""

    limit: Limit = 100
    cursor: Place | None = None
    type: Types | None = None
    eid: EidText | None = None
    tag: Tag | None = None
    since: Moment | None = None


class CloudEventPage(Struct, frozen=True):
    """`place` is behind the last one, also when there is no `next`: give it as `cursor` later, or as Last-Event-ID."""

    items: tuple[CloudEvent, ...]
    next: str | None
    place: str


class NewWebhook(Request, frozen=True):
    """Whom to tell of which events. Without types: all; with tags: only of cards that have one of them."""

    url: Url
    description: Description | None = None
    types: TypePatterns = ()
    tags: Tags = ()


class WebhookChange(Request, frozen=True):
    """What is given is replaced, the rest stays. `enabled` true again: deliveries go on where they stopped."""

    url: Url | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    types: TypePatterns | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class WebhookView(Tagged, frozen=True):
    """`failing_since` and `failure` say how deliveries go; `disabled_why` is null when an operator did it."""

    id: UUID
    url: str
    description: str | None
    types: tuple[str, ...]
    tags: tuple[str, ...]
    enabled: bool
    created_at: datetime
    delivered_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    disabled_why: str | None


class WebhookMade(Tagged, frozen=True):
    """`secret` is shown this once: the same request again (Idempotency-Key) is answered with null there."""

    webhook: WebhookView
    secret: str | None

    def __repr__(self) -> str:
        return f"WebhookMade(webhook={self.webhook.id!r})"


class WebhookPage(Struct, frozen=True):
    items: tuple[WebhookView, ...]
    next: str | None


class WebhookPageQuery(Request, frozen=True):
    limit: Limit = 100
    cursor: Cursor | None = None


class SecretRotation(Request, frozen=True):
    """For how long the secret before signs along, in seconds."""

    overlap_s: Annotated[int, Meta(ge=0, le=30 * 86_400)] = 86_400


class TestAsked(Struct, frozen=True):
    """The id of the test event: its delivery shows in `delivered_at` or `failure` of the webhook."""

    event: UUID


class Replay(Request, frozen=True):
    """Exactly one: all events since a time, or the dead letters."""

    since: Moment | None = None
    dead_letters: bool = False


class Replayed(Struct, frozen=True):
    """`dead_letters`: how many are tried once more; null for a replay since a time."""

    dead_letters: int | None


class DeadLetterView(Struct, frozen=True):
    """An event that was given up after the last try. `again`: one more is under way."""

    event: UUID
    type: str
    eid: str | None
    time: datetime
    attempts: int
    failure: str
    died_at: datetime
    again: bool


class DeadLetterPage(Struct, frozen=True):
    items: tuple[DeadLetterView, ...]
    next: str | None
