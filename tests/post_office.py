"""Webhooks on a test database: events as services record them, couriers as the worker runs them."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec

from eim.connectors.webhooks import HttpSender, Outgoing
from eim.domain.event import Happening
from eim.domain.ids import DEFAULT_TENANT, Eid, TenantId, bucket_of
from eim.domain.webhook import Reach
from eim.keys.data_key import DataKey
from eim.services.courier import Courier, DeliveryRules, Joined
from eim.services.deliverer import Deliverer
from eim.services.horizon import Horizon
from eim.services.leasing import Leasing
from eim.services.tokens import Caller
from eim.services.webhooks import Made, Webhooks
from eim.store import events
from eim.store.connect import DbRole, acquire, transaction
from eim.store.events import Event
from eim.store.webhooks import Settings
from tests.database import Database
from tests.operator_side import caller_of, eid_of
from tests.receiver import Receiver, receiving

LOOPBACK = Reach((ipaddress.ip_network("127.0.0.0/8"),), plain=True)
QUICK = DeliveryRules(
    retries=(timedelta(milliseconds=20),) * 3, interval=0.02, pauses=(0.02, 0.05, 0.1), patience=timedelta(days=3)
)


class PostOffice:
    """What joins them. Use `post_office`."""

    def __init__(self, database: Database, receiver: Receiver, sender: HttpSender, folder: Path) -> None:
        self.database = database
        self.receiver = receiver
        self.cipher = DataKey(folder)
        self.cipher.ensure()
        self.patience = 10.0  # seconds; making a database takes some, and is a transaction
        self.webhooks = Webhooks(database.pool(DbRole.OPERATOR), self.cipher, LOOPBACK, now)
        self.worker = database.pool(DbRole.WORKER)
        self.leasing = Leasing(self.worker, uuid4())
        self.joined = Joined(self.worker, self.leasing, Horizon(), sender, self.cipher, now, QUICK)

    async def subscribe(self, caller: Caller | None = None, **settings: object) -> Made:
        known = {"url": self.receiver.url} | settings
        return await self.webhooks.create(caller or caller_of(), msgspec.convert(known, Settings))

    async def happen(self, numbers: Sequence[int], n: int, tenant: TenantId = DEFAULT_TENANT) -> None:
        """Event `n` of each of these cards."""
        async with transaction(self.database.pool(DbRole.DEVICE)) as db:
            await events.append(db, tenant, [event_of(eid_of(number), n) for number in numbers])
        await self.settle()

    async def settle(self) -> None:
        """Wait a moment for the transactions of other tests, which hold events back as any would."""
        async with acquire(self.worker) as db:
            await self.joined.horizon.caught_up(db, self.patience)

    def courier(self, made: Made, rules: DeliveryRules = QUICK) -> Courier:
        return Courier(made.webhook.id, msgspec.structs.replace(self.joined, rules=rules))

    async def deliver(self, courier: Courier, rounds: int = 30) -> None:
        """Rounds until there have been two with nothing to do."""
        await self.settle()
        idle = 0
        for _ in range(rounds):
            idle = 0 if await courier.round() else idle + 1
            if idle == 2:
                return
            await asyncio.sleep(0.03)

    @asynccontextmanager
    async def at_work(self, rules: DeliveryRules = QUICK) -> AsyncIterator[None]:
        """The worker's deliveries run meanwhile."""
        task = asyncio.create_task(Deliverer(msgspec.structs.replace(self.joined, rules=rules)).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def row(self, made: Made) -> dict[str, object]:
        row = await self.database.owner().fetchrow("SELECT * FROM webhooks WHERE id = $1", made.webhook.id)
        assert row is not None
        return dict(row)

    async def count(self, table: str) -> int:
        return int(await self.database.owner().fetchval(f"SELECT count(*) FROM {table}"))


def event_of(eid: Eid, n: int) -> Event:
    return Event(bucket_of(eid), eid, Happening.OPERATION_DONE, {"n": n})


@asynccontextmanager
async def post_office(database: Database, folder: Path, patience: float = 2.0) -> AsyncIterator[PostOffice]:
    await database.seed_identity()
    outgoing = Outgoing(LOOPBACK, ssl.create_default_context(), patience)
    async with receiving() as receiver, HttpSender(outgoing) as sender:
        office = PostOffice(database, receiver, sender, folder)
        await office.leasing.refresh()
        yield office


def now() -> datetime:
    return datetime.now(UTC)
