"""/v1/webhooks: who is told of events, where; test, replay, rotate, and what could not be delivered."""

from datetime import timedelta
from typing import Final, TypeVar
from uuid import UUID

from msgspec import UnsetType

from eim import api, api_events
from eim.domain.ids import format_eid
from eim.errors import InvalidRequest
from eim.services.tokens import Scope
from eim.services.webhooks import Made, Webhooks
from eim.store.webhooks import DeadLetter, Settings, Webhook
from eim.web.endpoints import Call, Endpoint, Route, endpoint
from eim.web.operations import uuid_in
from eim.web.pages import FIRST, Listing, Place, read, split, write

_UUID_SIZE: Final = 16
_NO_VERSION: Final = -1

T = TypeVar("T")


class WebhookDesk:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    def endpoints(self) -> list[Endpoint]:
        reads, writes = Scope.WEBHOOKS_READ, Scope.WEBHOOKS_WRITE
        one = "/v1/webhooks/{id}"
        create = Route(
            "POST",
            "/v1/webhooks",
            writes,
            "createWebhook",
            "Make one; its secret is shown once.",
            201,
            "/v1/webhooks/{0.webhook.id}",
        )
        page = Route("GET", "/v1/webhooks", reads, "listWebhooks", "The webhooks, oldest first.")
        get = Route("GET", one, reads, "getWebhook", "One webhook, and how its deliveries go.")
        change = Route("PATCH", one, writes, "changeWebhook", "Change a webhook, or switch it on or off.")
        delete = Route("DELETE", one, writes, "deleteWebhook", "Remove a webhook with its dead letters.")
        rotate = Route("POST", f"{one}:rotate", writes, "rotateWebhookSecret", "Give it a new secret, shown once.")
        test = Route("POST", f"{one}:test", writes, "testWebhook", "Send it a test event.", 202)
        replay = Route("POST", f"{one}:replay", writes, "replayWebhook", "Deliver again.", 202)
        dead = Route("GET", f"{one}/dead-letters", reads, "listDeadLetters", "What was given up, oldest first.")
        return [
            endpoint(create, api_events.NewWebhook, api.Nothing, api_events.WebhookMade, self.create),
            endpoint(page, api.Nothing, api_events.WebhookPageQuery, api_events.WebhookPage, self.page),
            endpoint(get, api.Nothing, api.Nothing, api_events.WebhookView, self.read),
            endpoint(change, api_events.WebhookChange, api.Nothing, api_events.WebhookView, self.change),
            endpoint(delete, api.Nothing, api.Nothing, api_events.WebhookView, self.delete),
            endpoint(rotate, api_events.SecretRotation, api.Nothing, api_events.WebhookMade, self.rotate),
            endpoint(test, api.Nothing, api.Nothing, api_events.TestAsked, self.test),
            endpoint(replay, api_events.Replay, api.Nothing, api_events.Replayed, self.replay),
            endpoint(dead, api.Nothing, api_events.WebhookPageQuery, api_events.DeadLetterPage, self.dead_letters),
        ]

    async def create(self, call: Call[api_events.NewWebhook, api.Nothing]) -> api_events.WebhookMade:
        body = call.body
        settings = Settings(body.url, body.description, body.types, body.tags)
        return _made(await self._webhooks.create(call.caller, settings, call.repeat))

    async def page(self, call: Call[api.Nothing, api_events.WebhookPageQuery]) -> api_events.WebhookPage:
        listing = Listing(call.caller.tenant, "webhooks", ())
        place = read(listing, call.query.cursor, Place(FIRST, bytes(_UUID_SIZE)), _UUID_SIZE)
        rows = await self._webhooks.page(call.caller, (place.at, UUID(bytes=place.key)), call.query.limit + 1)
        shown, last = split(rows, call.query.limit)
        goes_on = write(listing, Place(last.created_at, last.id.bytes)) if last else None
        return api_events.WebhookPage(tuple(map(_view, shown)), goes_on)

    async def read(self, call: Call[api.Nothing, api.Nothing]) -> api_events.WebhookView:
        return _view(await self._webhooks.read(call.caller, uuid_in(call.path)))

    async def change(self, call: Call[api_events.WebhookChange, api.Nothing]) -> api_events.WebhookView:
        ident, body = uuid_in(call.path), call.body
        known = await self._webhooks.read(call.caller, ident)
        settings = Settings(
            url=_or(body.url, known.url),
            description=_or(body.description, known.description),
            types=_or(body.types, known.types),
            tags=_or(body.tags, known.tags),
            enabled=_or(body.enabled, known.enabled),
        )
        was = known.version if call.match is None else _version(call.match)
        return _view(await self._webhooks.change(call.caller, ident, settings, was))

    async def delete(self, call: Call[api.Nothing, api.Nothing]) -> api_events.WebhookView:
        was = None if call.match is None else _version(call.match)
        return _view(await self._webhooks.delete(call.caller, uuid_in(call.path), was))

    async def rotate(self, call: Call[api_events.SecretRotation, api.Nothing]) -> api_events.WebhookMade:
        overlap = timedelta(seconds=call.body.overlap_s)
        return _made(await self._webhooks.rotate(call.caller, uuid_in(call.path), overlap))

    async def test(self, call: Call[api.Nothing, api.Nothing]) -> api_events.TestAsked:
        return api_events.TestAsked(await self._webhooks.test(call.caller, uuid_in(call.path)))

    async def replay(self, call: Call[api_events.Replay, api.Nothing]) -> api_events.Replayed:
        body, ident = call.body, uuid_in(call.path)
        if (body.since is not None) == body.dead_letters:
            raise InvalidRequest("give exactly one: 'since' with a time, or 'dead_letters': true")
        if body.since is None:
            return api_events.Replayed(await self._webhooks.replay_dead(call.caller, ident))
        await self._webhooks.replay(call.caller, ident, body.since)
        return api_events.Replayed(None)

    async def dead_letters(self, call: Call[api.Nothing, api_events.WebhookPageQuery]) -> api_events.DeadLetterPage:
        ident, limit = uuid_in(call.path), call.query.limit
        listing = Listing(call.caller.tenant, "dead-letters", (str(ident),))
        place = read(listing, call.query.cursor, Place(FIRST, bytes(_UUID_SIZE)), _UUID_SIZE)
        after = (place.at, UUID(bytes=place.key))
        shown, last = split(await self._webhooks.dead_letters(call.caller, ident, after, limit + 1), limit)
        goes_on = write(listing, Place(last.died_at, last.event.bytes)) if last else None
        return api_events.DeadLetterPage(tuple(map(_letter, shown)), goes_on)


def _view(found: Webhook) -> api_events.WebhookView:
    return api_events.WebhookView(
        etag=str(found.version),
        id=found.id,
        url=found.url,
        description=found.description,
        types=found.types,
        tags=found.tags,
        enabled=found.enabled,
        created_at=found.created_at,
        delivered_at=found.delivered_at,
        failing_since=found.failing_since,
        failure=found.failure,
        disabled_why=found.disabled_why,
    )


def _made(made: Made) -> api_events.WebhookMade:
    view = _view(made.webhook)
    return api_events.WebhookMade(etag=view.etag, webhook=view, secret=made.secret)


def _letter(dead: DeadLetter) -> api_events.DeadLetterView:
    return api_events.DeadLetterView(
        event=dead.event,
        type=f"eim.{dead.kind}",
        eid=format_eid(dead.eid) if dead.eid else None,
        time=dead.at,
        attempts=dead.attempts,
        failure=dead.failure,
        died_at=dead.died_at,
        again=dead.again,
    )


def _or(said: T | UnsetType, known: T) -> T:
    return known if isinstance(said, UnsetType) else said


def _version(match: str) -> int:
    """The version in an ETag of ours; one that nothing has for another's."""
    return int(match) if match.isascii() and match.isdigit() and len(match) < 10 else _NO_VERSION
