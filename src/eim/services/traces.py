"""The raw octets of one device, while an operator has that switched on. Bounded, expiring, secrets masked."""

import asyncio
import ipaddress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog
from anyio import to_thread

from eim.domain.ids import Bucket, Eid, bucket_of, format_eid
from eim.errors import Conflict, NotFound, Unavailable
from eim.protocol.explain import mask
from eim.services.leasing import Leasing
from eim.services.tokens import Caller
from eim.store import audit, traces
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.traces import Message, Switch, Traced

MOST_OCTETS: Final = 16_384  # of one message; only a profile package is longer, and its beginning tells enough
MOST_DEVICES: Final = 100  # of one tenant, traced at the same time
_KEPT_FOR: Final = 86_400.0  # seconds behind the end of a trace
_SWEEP_EVERY: Final = 600.0  # seconds
_TICK: Final = timedelta(microseconds=1)
_V4_NETWORK: Final = 24  # bits of a peer's address that are kept
_V6_NETWORK: Final = 48

_log = structlog.get_logger()


class Exchange(msgspec.Struct, frozen=True):
    """A message of a device, and our answer (None: none but that it is stored)."""

    asked: bytes
    asked_at: datetime
    answer: bytes | None
    answered_at: datetime


class Tracer:
    """The device role's half: keeps the exchanges of those whose row says so. It never fails a device."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep(self, bucket: Bucket, eid: Eid, peer: str, exchange: Exchange) -> None:
        """Keep `exchange`, right behind the commit of what it was about. Without a database it is lost, and logged."""
        messages = await to_thread.run_sync(_messages, exchange)  # a hostile one takes long to read
        try:
            async with transaction(self._pool) as db:
                await traces.keep(db, bucket, eid, network_of(peer), _KEPT_FOR, messages)
        except Unavailable as failure:
            _log.warning("trace.lost", eid=format_eid(eid), why=failure.code)


class Traces:
    """The operator's half: switches them, reads them, forgets them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def switch(self, caller: Caller, eid: Eid, lasts: timedelta, exchanges: int) -> Switch:
        """Trace `eid` for `lasts` from now and at most so many exchanges; none: no more, and what is kept stays.

        Raises NotFound, and Conflict when as many devices as may be are traced already.
        """
        bucket, seconds = bucket_of(eid), lasts.total_seconds()
        about: dict[str, object] = {"seconds": seconds, "exchanges": exchanges if seconds else 0}
        async with transaction(self._pool, tenant=caller.tenant) as db:
            if seconds and await traces.others(db, caller.tenant, eid) >= MOST_DEVICES:
                raise Conflict(f"{MOST_DEVICES} devices are traced now, which is the limit: switch one off first")
            await traces.forget_expired(db, caller.tenant, bucket, eid)
            exchanges = exchanges if seconds else 0
            done = _known(await traces.switch(db, caller.tenant, bucket, eid, seconds, exchanges), eid)
            await audit.write(db, [_record(caller, "trace.switch", eid, about)])
        return done

    async def clear(self, caller: Caller, eid: Eid) -> Switch:
        """Trace `eid` no more and forget what was kept. Raises NotFound."""
        bucket = bucket_of(eid)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            done = _known(await traces.switch(db, caller.tenant, bucket, eid, 0.0, 0), eid)
            await traces.clear(db, caller.tenant, bucket, eid)
            await audit.write(db, [_record(caller, "trace.clear", eid, {})])
        return done

    async def page(
        self, caller: Caller, eid: Eid, after: tuple[datetime, UUID], limit: int
    ) -> tuple[Switch, tuple[Traced, ...]]:
        """The switch, and the messages behind `after`, oldest first. Who reads them is on record. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            found = _known(await traces.read_switch(db, caller.tenant, bucket_of(eid), eid), eid)
            messages = await traces.page(db, caller.tenant, (bucket_of(eid), eid), after, limit)
            if messages:
                about: dict[str, object] = {"messages": len(messages), "from": messages[0].at, "to": messages[-1].at}
                await audit.write(db, [_record(caller, "trace.read", eid, about)])
            return found, messages


class Sweeper:
    """The worker role's half: forgets what has expired, in the buckets it holds."""

    def __init__(self, pool: Pool, leasing: Leasing) -> None:
        self._pool = pool
        self._leasing = leasing

    async def run(self) -> None:
        """Sweep every ten minutes until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            await self.sweep()

    async def sweep(self) -> None:
        """Once; without a database not this time."""
        try:
            async with transaction(self._pool) as db:
                await traces.purge(db, self._leasing.buckets)
        except Unavailable as failure:
            _log.warning("trace.not_swept", why=failure.code)


def network_of(peer: str) -> str:
    """The network that an address lies in: enough to tell two carriers apart, not two people."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return "unknown"
    bits = _V4_NETWORK if address.version == 4 else _V6_NETWORK
    return str(ipaddress.ip_network((address, bits), strict=False))


def _messages(exchange: Exchange) -> list[Message]:
    found = [_message(exchange.asked_at, "in", exchange.asked)]
    if exchange.answer is not None:
        answered_at = max(exchange.answered_at, exchange.asked_at + _TICK)
        found.append(_message(answered_at, "out", exchange.answer))
    return found


def _message(at: datetime, direction: traces.Direction, octets: bytes) -> Message:
    return Message(at, direction, mask(octets[:MOST_OCTETS]), len(octets))


def _known(found: Switch | None, eid: Eid) -> Switch:
    if found is None:
        raise NotFound(f"EID {format_eid(eid)} is not onboarded")
    return found


def _record(caller: Caller, action: str, eid: Eid, about: dict[str, object]) -> Record:
    return Record(caller.tenant, caller.actor, action, format_eid(eid), about, bucket_of(eid))
