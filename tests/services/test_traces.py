from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from eim.domain.euicc import Speaks
from eim.domain.ids import DEFAULT_TENANT, Eid, TenantId, bucket_of
from eim.domain.operation import Kind
from eim.errors import Conflict, NotFound
from eim.protocol.esipa import NO_PACKAGE
from eim.services.tokens import SETUP, Caller
from eim.services.traces import MOST_DEVICES, Exchange, Sweeper, Tracer, Traces, network_of
from eim.sim import messages
from eim.sim.euicc import VirtualEuicc
from eim.store.connect import DbRole
from eim.store.traces import Traced
from tests.database import Database
from tests.services import rig
from tests.services.rig import Rig

START = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
HALF_AN_HOUR = timedelta(minutes=30)
TRIGGER = bytes.fromhex("BF5422 A020 801E 4C50413A3124736D64702E6578616D706C652E636F6D2453454352455431")


def poll(card: VirtualEuicc) -> bytes:
    return messages.poll(card.eid, Speaks.V1_2, None, None)


async def kept(traces: Traces, eid: bytes) -> tuple[Traced, ...]:
    _, found = await traces.page(SETUP, Eid(eid), START, 1000)
    return found


async def started(database: Database) -> tuple[Rig, Traces, VirtualEuicc]:
    """A rig with one card, introduced and idle."""
    made = await rig.start(database)
    await made.onboard()
    (card,) = made.cards
    await made.visit(card)
    return made, Traces(database.pool(DbRole.OPERATOR)), card


async def test_who_is_not_traced_leaves_nothing(database: Database) -> None:
    made, traces, card = await started(database)
    await made.send(poll(card))
    assert await kept(traces, card.eid) == ()
    assert await database.owner().fetchval("SELECT count(*) FROM traces") == 0


async def test_a_traced_device_leaves_what_it_says_and_is_told_in_order(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    await made.order(card, Kind.LIST_PROFILES)
    package = await made.poll(card)
    assert package is not None
    result = made.wrap(card, made.execute(card, package))
    answer = await made.send(result, card.eid)
    assert await made.send(poll(card)) == NO_PACKAGE
    found = await kept(traces, card.eid)
    assert [each.direction for each in found] == ["in", "out"] * 3
    assert found[0].octets == poll(card)
    assert found[1].octets.endswith(package)
    assert [each.octets for each in found[2:]] == [result, answer, poll(card), NO_PACKAGE]
    assert {each.peer for each in found} == {"127.0.0.0/24"}
    assert [each.at for each in found] == sorted(each.at for each in found)


async def test_a_trace_ends_with_its_exchanges(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 2)
    for _ in range(5):
        await made.send(poll(card))
    assert len(await kept(traces, card.eid)) == 4
    switch, _ = await traces.page(SETUP, Eid(card.eid), START, 1)
    assert switch.left == 0


async def test_a_trace_ends_with_its_time(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    await database.owner().execute("UPDATE euiccs SET traced_until = now() - interval '1 second'")
    await made.send(poll(card))
    assert await kept(traces, card.eid) == ()


async def test_switching_off_keeps_what_is_there_and_clearing_forgets_it(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    await made.send(poll(card))
    off = await traces.switch(SETUP, Eid(card.eid), timedelta(0), 100)
    await made.send(poll(card))
    assert (off.until, off.left) == (None, 0)
    assert len(await kept(traces, card.eid)) == 2
    await traces.clear(SETUP, Eid(card.eid))
    assert await kept(traces, card.eid) == ()


async def test_what_expired_is_not_shown_and_is_purged(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    await made.send(poll(card))
    await database.owner().execute("UPDATE traces SET expires_at = now()")
    assert await kept(traces, card.eid) == ()
    await Sweeper(database.pool(DbRole.WORKER), made.leasing).sweep()
    assert await database.owner().fetchval("SELECT count(*) FROM traces") == 0


async def test_secrets_never_reach_the_table(database: Database) -> None:
    _, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    now = datetime.now(UTC)
    exchange = Exchange(poll(card), now, TRIGGER, now)
    await Tracer(database.pool(DbRole.DEVICE)).keep(bucket_of(Eid(card.eid)), Eid(card.eid), "192.0.2.7", exchange)
    asked, answered = await kept(traces, card.eid)
    assert answered.octets == TRIGGER.replace(b"SECRET1", b"*******")
    assert answered.at > asked.at


async def test_a_long_message_is_cut_and_its_size_told(database: Database) -> None:
    _, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    now, long = datetime.now(UTC), bytes.fromhex("BF3683011170") + bytes(70_000)
    await Tracer(database.pool(DbRole.DEVICE)).keep(
        bucket_of(Eid(card.eid)), Eid(card.eid), "", Exchange(long, now, None, now)
    )
    (only,) = await kept(traces, card.eid)
    assert (len(only.octets), only.size, only.peer) == (16_384, 70_006, "unknown")


async def test_a_notification_is_traced_without_an_answer(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    await made.order(card, Kind.LIST_PROFILES)
    package = await made.poll(card)
    assert package is not None
    wrapped = made.wrap(card, made.execute(card, package))
    handled = b"\xbf\x3d" + _length(len(wrapped)) + wrapped
    assert await made.send(handled, card.eid) is None
    assert [each.direction for each in await kept(traces, card.eid)] == ["in", "out", "in"]


async def test_reading_is_audited_with_who_and_how_much(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    reader = Caller(DEFAULT_TENANT, "token:reader", SETUP.scopes)
    await traces.page(reader, Eid(card.eid), START, 10)
    records = "SELECT actor, data ->> 'messages' AS messages FROM audit WHERE action = 'trace.read'"
    assert await database.owner().fetch(records) == [], "nothing was there to be read"
    await made.send(poll(card))
    await traces.page(reader, Eid(card.eid), START, 10)
    assert [tuple(row) for row in await database.owner().fetch(records)] == [("token:reader", "2")]


async def test_switching_is_audited_with_who(database: Database) -> None:
    _, traces, card = await started(database)
    caller = Caller(DEFAULT_TENANT, "token:anna", SETUP.scopes)
    await traces.switch(caller, Eid(card.eid), HALF_AN_HOUR, 7)
    record = await database.owner().fetchrow("SELECT actor, data FROM audit WHERE action = 'trace.switch'")
    assert record is not None
    assert (record["actor"], record["data"]) == ("token:anna", {"seconds": 1800.0, "exchanges": 7})


async def test_another_tenant_neither_switches_nor_reads(database: Database) -> None:
    made, traces, card = await started(database)
    await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    await made.send(poll(card))
    await database.owner().execute("INSERT INTO tenants (id, name) VALUES (2, 'other')")
    other = Caller(TenantId(2), "token:other", SETUP.scopes)
    with pytest.raises(NotFound):
        await traces.switch(other, Eid(card.eid), HALF_AN_HOUR, 100)
    with pytest.raises(NotFound):
        await traces.clear(other, Eid(card.eid))
    with pytest.raises(NotFound):
        await traces.page(other, Eid(card.eid), START, 10)
    assert len(await kept(traces, card.eid)) == 2


async def test_a_tenant_traces_no_more_than_so_many_devices(database: Database) -> None:
    _, traces, card = await started(database)
    await database.owner().execute(
        "INSERT INTO euiccs (bucket, eid, tenant, identity, counter, traced_until, trace_left) "
        "SELECT 0, decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 1, 0, now() + interval '1 hour', 1 "
        "FROM generate_series(1, $1::int) AS n",
        MOST_DEVICES,
    )
    with pytest.raises(Conflict, match="switch one off first"):
        await traces.switch(SETUP, Eid(card.eid), HALF_AN_HOUR, 100)
    await traces.switch(SETUP, Eid(card.eid), timedelta(0), 100)


@pytest.mark.parametrize(
    ("peer", "network"),
    [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("unknown", "unknown"), ("", "unknown")],
)
def test_only_the_network_of_a_peer_is_kept(peer: str, network: str) -> None:
    assert network_of(peer) == network


def _length(size: int) -> bytes:
    return bytes((size,)) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")
