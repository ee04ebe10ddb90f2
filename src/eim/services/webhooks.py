"""Webhooks as operators handle them: who is told of which events, where. Deliveries are the worker's (`courier`)."""

import secrets
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import msgspec

from eim.domain import webhook
from eim.domain.event import Happening, is_type
from eim.domain.ids import TenantId
from eim.domain.webhook import Reach, Secret
from eim.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed
from eim.services.courier import open_secrets, seal_secrets
from eim.services.lines import answered_before, remember
from eim.services.ports import Cipher, Clock
from eim.services.tokens import Caller
from eim.store import Db, audit, events
from eim.store import webhooks as rows
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.orders import Repeat
from eim.store.webhooks import DeadLetter, Settings, Webhook

MOST: Final = 50  # webhooks of a tenant


class Made(msgspec.Struct, frozen=True):
    """A webhook with its newest secret, which is shown this once."""

    webhook: Webhook
    secret: str | None  # None: the same request came before

    def __repr__(self) -> str:
        return f"Made(webhook={self.webhook.id!r})"


class _Remembered(msgspec.Struct, frozen=True):
    """What is kept of a creation for its repeat: not the secret."""

    id: UUID


class Webhooks:
    """Makes, changes and asks things of webhooks. Holds the operator role's pool and the data key."""

    def __init__(self, pool: Pool, cipher: Cipher, reach: Reach, now: Clock) -> None:
        self._pool = pool
        self._cipher = cipher
        self._reach = reach
        self._now = now

    async def create(self, caller: Caller, settings: Settings, repeat: Repeat | None = None) -> Made:
        """Make one; its events begin now. The same request again shows no secret.

        Raises InvalidRequest, Conflict when there are too many, KeyUnusable.
        """
        self._check(settings)
        ident, secret = uuid4(), Secret(secrets.token_bytes(webhook.SECRET_SIZE), None)
        sealed = seal_secrets(self._cipher, ident, [secret])
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, ident, _Remembered)
            if before is not None:
                return Made(_known(await rows.read(db, caller.tenant, before.id), before.id), None)
            if await rows.count(db, caller.tenant) >= MOST:
                raise Conflict(f"a tenant has at most {MOST} webhooks: delete one first")
            made = await rows.insert(db, caller.tenant, ident, settings, sealed, await events.last_turn(db))
            await _audit(db, caller, "webhook.create", ident, _told(settings))
            await remember(db, caller.tenant, repeat, _Remembered(ident))
        return Made(made, secret.text)

    async def read(self, caller: Caller, ident: UUID) -> Webhook:
        """Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return _known(await rows.read(db, caller.tenant, ident), ident)

    async def page(self, caller: Caller, after: tuple[datetime, UUID], limit: int) -> tuple[Webhook, ...]:
        """Those behind `after`, oldest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await rows.page(db, caller.tenant, after, limit)

    async def change(self, caller: Caller, ident: UUID, settings: Settings, was: int | None) -> Webhook:
        """Put `settings` in the place of what it had, when it still has version `was` (None: whatever it has).

        Raises InvalidRequest, NotFound, PreconditionFailed.
        """
        self._check(settings)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await _lock(db, caller.tenant, ident, was)
            changed = _known(await rows.change(db, caller.tenant, ident, settings), ident)
            await _audit(db, caller, "webhook.change", ident, _told(settings))
        return changed

    async def delete(self, caller: Caller, ident: UUID, was: int | None) -> Webhook:
        """Remove it with its dead letters. Raises NotFound, PreconditionFailed."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _lock(db, caller.tenant, ident, was)
            await rows.delete(db, caller.tenant, ident)
            await _audit(db, caller, "webhook.delete", ident, {"url": _host(found.url)})
        return found

    async def rotate(self, caller: Caller, ident: UUID, overlap: timedelta) -> Made:
        """Give it a new secret; those before sign along until `overlap` is over. Raises NotFound, KeyUnusable."""
        key = secrets.token_bytes(webhook.SECRET_SIZE)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = await _lock(db, caller.tenant, ident, None)
            kept = webhook.rotated(open_secrets(self._cipher, found), key, self._now(), overlap)
            sealed = seal_secrets(self._cipher, ident, kept)
            changed = _known(await rows.set_secrets(db, caller.tenant, ident, sealed), ident)
            await _audit(db, caller, "webhook.rotate", ident, {"overlap_s": overlap.total_seconds()})
        return Made(changed, kept[0].text)

    async def test(self, caller: Caller, ident: UUID) -> UUID:
        """Send it a test event, past its filters; the event's id. Raises NotFound, Conflict while it is off."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            if not (await _lock(db, caller.tenant, ident, None)).enabled:
                raise Conflict("this webhook is switched off: set enabled to true first")
            about = {"webhook": str(ident), "by": caller.actor}
            bucket = audit.bucket_of_subject(str(ident))
            return await events.record(db, bucket, None, caller.tenant, Happening.WEBHOOK_TESTED, about)

    async def replay(self, caller: Caller, ident: UUID, since: datetime) -> Webhook:
        """Deliver again all that happened since. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await _lock(db, caller.tenant, ident, None)
            start = await events.turn_at(db, caller.tenant, since)
            start = start if start is not None else await events.last_turn(db)
            again = _known(await rows.replay(db, caller.tenant, ident, start), ident)
            await _audit(db, caller, "webhook.replay", ident, {"since": since.isoformat()})
        return again

    async def replay_dead(self, caller: Caller, ident: UUID) -> int:
        """Try each dead letter once more; how many those are. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            _known(await rows.read(db, caller.tenant, ident), ident)
            many = await rows.ask_again(db, caller.tenant, ident)
            await _audit(db, caller, "webhook.replay_dead", ident, {"dead_letters": many})
        return many

    async def dead_letters(
        self, caller: Caller, ident: UUID, after: tuple[datetime, UUID], limit: int
    ) -> tuple[DeadLetter, ...]:
        """What was given up behind `after`, oldest first. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            _known(await rows.read(db, caller.tenant, ident), ident)
            return await rows.dead_letters(db, caller.tenant, ident, after, limit)

    def _check(self, settings: Settings) -> None:
        webhook.check_url(settings.url, self._reach)
        if wrong := [each for each in settings.types if not is_type(each)]:
            raise InvalidRequest(f"{wrong[0]!r} is no type of event: docs/events.md lists them, eim.operation.* works")


async def _lock(db: Db, tenant: TenantId, ident: UUID, was: int | None) -> Webhook:
    found = _known(await rows.lock(db, tenant, ident), ident)
    if was is not None and found.version != was:
        raise PreconditionFailed("somebody changed this webhook since you read it: read it again")
    return found


async def _audit(db: Db, caller: Caller, action: str, ident: UUID, data: dict[str, object]) -> None:
    await audit.write(db, [Record(caller.tenant, caller.actor, action, str(ident), data)])


def _told(settings: Settings) -> dict[str, object]:
    """What the audit keeps: of the URL its host only, since some receivers have a token in the path."""
    said = {"url": _host(settings.url), "types": list(settings.types), "tags": list(settings.tags)}
    return {**said, "enabled": settings.enabled}


def _host(url: str) -> str:
    return webhook.read_target(url).authority


def _known(found: Webhook | None, ident: UUID) -> Webhook:
    if found is None:
        raise NotFound(f"there is no webhook {ident}")
    return found
