"""One webhook's deliveries by one worker: at least once, and each card's in order.

A round tries again what waits, then what is new in the buckets that this process holds. A card's next event is not
sent before the one in front of it was delivered or given up; cards go in parallel. What was delivered is written down
after it was, so a crash repeats some of it, under the same ids.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Final
from uuid import UUID

import msgspec

from eim.domain import event, webhook
from eim.domain.event import Happening, Origin
from eim.domain.ids import Bucket
from eim.domain.webhook import Secret, Target
from eim.errors import Unavailable
from eim.services.hearing import Hearing
from eim.services.horizon import Horizon
from eim.services.leasing import Leasing
from eim.services.ports import Answered, Cipher, Clock, Sender
from eim.store import Db, audit, deliveries, events
from eim.store.connect import Pool, acquire, transaction
from eim.store.deliveries import Asking, Card, Fresh, Grave, Wait
from eim.store.events import Told
from eim.store.leases import Lease
from eim.store.webhooks import Webhook

_BUCKETS_A_ROUND: Final = 256
_BUCKETS_IN_DOUBT: Final = 4
_EVENTS_A_BUCKET: Final = 50
_EVENTS_A_CARD: Final = 100
_WAITING_A_ROUND: Final = 64
_LETTERS_A_ROUND: Final = 100
_ROUND_S: Final = 10.0  # no delivery begins later in a round: what was delivered is to be written down
_FAR: Final = 10_000  # turns that a bucket without anything wanted may be ahead of what is written down of it
_GONE: Final = 410  # HTTP: the receiver wants no more
_HEADERS: Final = {"Content-Type": "application/cloudevents+json; charset=utf-8", "User-Agent": f"eim/{version('eim')}"}


class DeliveryRules(msgspec.Struct, frozen=True):
    """What the configuration says about deliveries."""

    parallel: int = 16  # cards of one webhook at once
    retries: tuple[timedelta, ...] = webhook.RETRIES
    patience: timedelta = timedelta(days=3)  # of failure without any success; then it is switched off
    interval: float = 1.0  # seconds between looks
    pauses: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)  # seconds, of one who fails in a row


class Joined(msgspec.Struct, frozen=True):
    """What the couriers of one process share."""

    pool: Pool
    leasing: Leasing
    horizon: Horizon
    sender: Sender
    cipher: Cipher
    now: Clock
    rules: DeliveryRules


class Replaced(Unavailable):
    """The webhook was changed, switched off or removed meanwhile: what was to be written of it is not."""

    code = "webhook-replaced"


class Walk(msgspec.Struct, frozen=True):
    """What became of one card's events, in their order."""

    card: Card
    delivered: tuple[UUID, ...] = ()
    graves: tuple[Grave, ...] = ()
    wait: Wait | None = None  # from this one on they wait
    stopped: int | None = None  # the turn of the first one that nobody tried


class Progress(msgspec.Struct, frozen=True):
    """What is to be written down together."""

    places: Mapping[Bucket, int] = {}
    waits: Mapping[Card, Wait] = {}
    resumed: tuple[Card, ...] = ()
    graves: tuple[Grave, ...] = ()
    raised: tuple[tuple[Bucket, UUID], ...] = ()

    @property
    def buckets(self) -> set[Bucket]:
        cards = {card.bucket for card in (*self.waits, *self.resumed)}
        return {*self.places, *cards, *(g.bucket for g in self.graves), *(bucket for bucket, _ in self.raised)}


class Courier:
    """Guards one webhook's deliveries in this process: how far they are, which cards wait."""

    def __init__(self, ident: UUID, joined: Joined) -> None:
        self._id = ident
        self._joined = joined
        self._rules = joined.rules
        self._hearing = Hearing(joined.rules.pauses)
        self._known: Webhook | None = None
        self._secrets: tuple[Secret, ...] = ()
        self._leases: dict[Bucket, Lease] = {}
        self._places: dict[Bucket, int] = {}
        self._saved: dict[Bucket, int] = {}
        self._waits: dict[Card, Wait] = {}
        self._dirty: set[Bucket] = set()
        self._looked = 0  # up to this turn, buckets with anything new are in `_dirty`
        self._until = 0.0
        self._gone = False

    async def round(self) -> int | None:
        """Deliver what is due. 0: nothing is. None: the webhook is gone or switched off.

        Raises Unavailable (also LeaseLost) and KeyUnusable; the next round then reads again how far it is.
        """
        try:
            return await self._round()
        except BaseException:
            self._known = None
            raise

    async def _round(self) -> int | None:
        async with acquire(self._joined.pool) as db:
            found = await deliveries.read(db, self._id)
            if found is None or not found.enabled:
                return None
            await self._learn(db, found)
            if self._hearing.left_alone:
                return 0
            safe = await self._joined.horizon.safe(db)
            if safe > self._looked:
                turns = (self._looked, safe)
                self._dirty |= await deliveries.with_new(db, found.tenant, turns, list(self._places))
                self._looked = safe
        self._until = time.monotonic() + _ROUND_S
        tried = await self._try_waiting(found) + await self._try_letters(found) + await self._try_fresh(found, safe)
        return None if self._gone else tried

    async def _learn(self, db: Db, found: Webhook) -> None:
        """Take in what an operator changed, and which buckets we hold now."""
        known = self._known
        if known is None or known.secrets != found.secrets:
            self._secrets = open_secrets(self._joined.cipher, found)
        if known is not None and known.version != found.version:
            self._hearing = Hearing(self._rules.pauses)
        if known is None or known.generation != found.generation:
            self._leases, self._places, self._waits, self._dirty = {}, {}, {}, set()
            self._looked = found.start
        held = {lease.bucket: lease for lease in self._joined.leasing.leases}
        for bucket in [b for b, lease in self._leases.items() if held.get(b) != lease]:
            del self._leases[bucket], self._places[bucket], self._saved[bucket]
            self._dirty.discard(bucket)
        self._waits = {card: wait for card, wait in self._waits.items() if card.bucket in self._leases}
        if new := sorted(held.keys() - self._leases.keys()):
            places = await deliveries.places(db, found, new)
            self._places |= places
            self._saved |= places
            self._waits |= await deliveries.waits(db, found, new)
            self._leases |= {bucket: held[bucket] for bucket in new}
            self._dirty.update(new)
        self._known = found

    async def _try_waiting(self, found: Webhook) -> int:
        now, retries = self._joined.now(), self._rules.retries
        known = self._waits.items()
        due = sorted((w.again_at, card) for card, w in known if webhook.is_time(w.again_at, w.attempts, retries, now))
        due = due[: 1 if self._hearing.doubted else _WAITING_A_ROUND]
        if not due:
            return 0
        queues = {}
        async with acquire(self._joined.pool) as db:
            for _, card in due:
                turns = (self._waits[card].turn, self._places[card.bucket])
                queues[card] = await deliveries.of_card(db, _asking(found), card, turns, _EVENTS_A_CARD)
        walks = await self._walk_all(found, queues)
        waits = {walk.card: wait for walk in walks if (wait := self._still(walk, queues[walk.card]))}
        resumed = tuple(card for card in queues if card not in waits)
        await self._write(found, Progress(waits=waits, resumed=resumed, graves=_graves(walks)))
        return len(walks)

    def _still(self, walk: Walk, queue: Sequence[Told]) -> Wait | None:
        """For what a card that was tried again still waits; None: for nothing."""
        before, now = self._waits[walk.card], self._joined.now()
        if walk.wait is not None:
            return walk.wait
        if walk.stopped is not None:
            attempts = before.attempts if walk.stopped == before.turn else 0
            return Wait(walk.stopped, attempts, now, before.failure)
        return Wait(queue[-1].turn + 1, 0, now, before.failure) if len(queue) == _EVENTS_A_CARD else None

    async def _try_letters(self, found: Webhook) -> int:
        """Dead letters that an operator wants tried once more: in their order, but behind what came later."""
        if self._hearing.doubted:
            return 0
        async with acquire(self._joined.pool) as db:
            asked = await deliveries.asked_again(db, self._id, list(self._places), _LETTERS_A_ROUND)
        queues: dict[Card, list[Told]] = {}
        for each in asked:
            queues.setdefault(each.card, []).append(each.told)
        walks = await self._walk_all(found, queues)
        raised = tuple((walk.card.bucket, ident) for walk in walks for ident in walk.delivered)
        waiting = {(walk.card.bucket, walk.wait.turn): walk.wait.failure for walk in walks if walk.wait}
        again = tuple(
            Grave(e.card.bucket, e.told.happened.id, e.told.turn, e.attempts + 1, failure)
            for e in asked
            if (failure := waiting.get((e.card.bucket, e.told.turn))) is not None
        )
        await self._write(found, Progress(graves=(*again, *_graves(walks)), raised=raised))
        return len(walks)

    async def _try_fresh(self, found: Webhook, safe: int) -> int:
        if self._hearing.left_alone or not self._dirty:
            return 0
        many = _BUCKETS_IN_DOUBT if self._hearing.doubted else _BUCKETS_A_ROUND
        chosen = {bucket: self._places[bucket] for bucket in list(self._dirty)[:many]}
        async with acquire(self._joined.pool) as db:
            rows = await deliveries.fresh(db, _asking(found), chosen, safe, _EVENTS_A_BUCKET)
        queues: dict[Card, list[Told]] = {}
        for row in rows:
            queues.setdefault(row.card, []).append(row.told)
        waits = self._overtaken(queues)
        walks = await self._walk_all(found, {card: told for card, told in queues.items() if card not in self._waits})
        waits |= {walk.card: walk.wait for walk in walks if walk.wait}
        places, clean = _places(chosen, rows, walks, safe)
        new = {row.card.bucket for row in rows}
        save = {b: turn for b, turn in places.items() if b in new or turn - self._saved[b] > _FAR}
        await self._write(found, Progress(save, waits, (), _graves(walks)))
        self._places |= places
        self._dirty -= clean
        return len(chosen)

    def _overtaken(self, queues: Mapping[Card, Sequence[Told]]) -> dict[Card, Wait]:
        """Waits that have to begin earlier: who inserts without the card's lock may be seen out of order."""
        return {
            card: msgspec.structs.replace(wait, turn=told[0].turn)
            for card, told in queues.items()
            if (wait := self._waits.get(card)) is not None and told[0].turn < wait.turn
        }

    async def _walk_all(self, found: Webhook, queues: Mapping[Card, Sequence[Told]]) -> list[Walk]:
        """Each card's events one after the other, cards in parallel; of one who doesn't listen, first one card's."""
        cards = list(queues)
        walks: list[Walk] = []
        while cards and self._hearing.doubted and not self._stopping():
            card = cards.pop(0)
            walks.append(await self._walk(found, card, queues[card][:1]))
            if walks[-1].wait is None and len(queues[card]) > 1:
                walks[-1] = _longer(walks[-1], await self._walk(found, card, queues[card][1:]))
        room = asyncio.Semaphore(self._rules.parallel)

        async def walk(card: Card) -> Walk:
            async with room:
                return await self._walk(found, card, queues[card])

        return walks + list(await asyncio.gather(*map(walk, cards)))

    async def _walk(self, found: Webhook, card: Card, queue: Sequence[Told]) -> Walk:
        waiting = self._waits.get(card)
        attempts = waiting.attempts if waiting and queue and queue[0].turn == waiting.turn else 0
        walk = Walk(card)
        for told in queue:
            if self._stopping():
                return msgspec.structs.replace(walk, stopped=told.turn)
            answered = await self._send(found, told)
            if answered.failure is None:
                walk = msgspec.structs.replace(walk, delivered=(*walk.delivered, told.happened.id))
                attempts = 0
                continue
            attempts += 1
            pause = webhook.next_try(attempts, self._rules.retries, random.uniform(-1, 1))  # noqa: S311 - spreads load
            if pause is not None:
                wait = Wait(told.turn, attempts, self._joined.now() + pause, answered.failure)
                return msgspec.structs.replace(walk, wait=wait)
            grave = Grave(card.bucket, told.happened.id, told.turn, attempts, answered.failure)
            walk, attempts = msgspec.structs.replace(walk, graves=(*walk.graves, grave)), 0
        return walk

    def _stopping(self) -> bool:
        return self._gone or self._hearing.left_alone or time.monotonic() > self._until

    async def _send(self, found: Webhook, told: Told) -> Answered:
        happened, now = told.happened, self._joined.now()
        origin = Origin(happened.id, happened.eid, happened.at, told.eim_id)
        body = msgspec.json.encode(event.cloud_event(origin, happened.kind, happened.data))
        ident, at = str(happened.id), int(now.timestamp())
        signed = webhook.signatures(webhook.valid(self._secrets, now), ident, at, body)
        headers = {"webhook-id": ident, "webhook-timestamp": str(at), "webhook-signature": signed, **_HEADERS}
        answered = await self._joined.sender.send(_target(found), headers, body)
        if answered.failure is None:
            self._hearing.took()
        else:
            self._hearing.failed(answered.failure, answered.retry_after)
            self._gone = self._gone or answered.status == _GONE
        return answered

    async def _write(self, found: Webhook, progress: Progress) -> None:
        """Remember all of it, as the holder of its buckets, for the webhook as it was read; or nothing."""
        if not progress.buckets:
            return
        hearing = self._hearing
        async with transaction(self._joined.pool) as db:
            await self._joined.leasing.hold(db, sorted(progress.buckets))
            too_long = await deliveries.note(db, found, hearing.succeeded, hearing.failure, self._rules.patience)
            if too_long is None:
                raise Replaced("the webhook was changed meanwhile")
            await _write_down(db, found, progress)
            if too_long or self._gone:
                await _switch_off(db, self._id, "it answered 410: gone" if self._gone else "it failed for too long")
        hearing.begin()
        self._saved |= progress.places
        self._waits |= progress.waits
        for card in progress.resumed:
            self._waits.pop(card, None)


def open_secrets(cipher: Cipher, found: Webhook) -> tuple[Secret, ...]:
    """The signing secrets of a webhook. Raises KeyUnusable."""
    return msgspec.msgpack.decode(cipher.open(found.secrets, found.id.bytes), type=tuple[Secret, ...])


def seal_secrets(cipher: Cipher, ident: UUID, secrets: Sequence[Secret]) -> bytes:
    """As the database keeps them. Raises KeyUnusable."""
    return cipher.seal(msgspec.msgpack.encode(secrets), ident.bytes)


async def _write_down(db: Db, found: Webhook, progress: Progress) -> None:
    if progress.places:
        await deliveries.move(db, found, progress.places)
    if progress.waits:
        await deliveries.wait(db, found, progress.waits)
    if progress.resumed:
        await deliveries.resume(db, found, progress.resumed)
    if progress.raised:
        await deliveries.unbury(db, found, progress.raised)
    if progress.graves:
        await deliveries.bury(db, found, progress.graves)


async def _switch_off(db: Db, ident: UUID, why: str) -> None:
    tenant = await deliveries.disable(db, ident, why)
    if tenant is not None:
        about = {"webhook": str(ident), "why": why}
        bucket = audit.bucket_of_subject(str(ident))
        await events.record(db, bucket, None, tenant, Happening.WEBHOOK_DISABLED, about)
        await audit.record(db, bucket, tenant, actor="worker", action="webhook.disable", subject=str(ident), data=about)


def _places(
    chosen: Mapping[Bucket, int], rows: Sequence[Fresh], walks: Sequence[Walk], safe: int
) -> tuple[dict[Bucket, int], set[Bucket]]:
    """Up to which turn each bucket is done with, and which of them have nothing more up to `safe`."""
    found: dict[Bucket, list[int]] = {bucket: [] for bucket in chosen}
    for row in rows:
        found[row.card.bucket].append(row.told.turn)
    full = {bucket for bucket, turns in found.items() if len(turns) == _EVENTS_A_BUCKET}
    # A horizon that has just begun may be behind what was reached before.
    places = {bucket: turns[-1] if bucket in full else max(safe, chosen[bucket]) for bucket, turns in found.items()}
    stopped = {walk.card.bucket for walk in walks if walk.stopped is not None}
    for walk in walks:
        if walk.stopped is not None:
            places[walk.card.bucket] = min(places[walk.card.bucket], walk.stopped - 1)
    return places, chosen.keys() - full - stopped


def _longer(first: Walk, rest: Walk) -> Walk:
    return Walk(rest.card, first.delivered + rest.delivered, first.graves + rest.graves, rest.wait, rest.stopped)


def _graves(walks: Sequence[Walk]) -> tuple[Grave, ...]:
    return tuple(grave for walk in walks for grave in walk.graves)


def _asking(found: Webhook) -> Asking:
    return Asking(found.id, found.tenant, event.kinds_of(found.types), found.tags)


def _target(found: Webhook) -> Target:
    return webhook.read_target(found.url)
