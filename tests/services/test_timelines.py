from datetime import UTC, datetime
from uuid import UUID

import pytest

from eim.domain.ids import Eid, TenantId
from eim.domain.operation import Kind
from eim.errors import NotFound
from eim.services.timelines import Timelines, Told
from eim.services.tokens import SETUP, Caller
from eim.services.traces import Traces
from eim.sim.euicc import VirtualEuicc
from eim.store.connect import DbRole
from tests.database import Database
from tests.services import rig
from tests.services.rig import Rig

END = (datetime(9999, 12, 31, tzinfo=UTC), 0, UUID(int=0))


async def history(database: Database, card: VirtualEuicc) -> list[Told]:
    """Oldest first."""
    _, found = await Timelines(database.pool(DbRole.OPERATOR)).page(SETUP, Eid(card.eid), END, 1000)
    return list(reversed(found))


async def switched(database: Database) -> tuple[Rig, VirtualEuicc, UUID]:
    """A card that changed its profile."""
    made = await rig.start(database)
    await made.onboard()
    (card,) = made.cards
    await made.visit(card)
    await made.order(card, Kind.LIST_PROFILES)
    await made.visit(card)
    rows = await made.rows("profiles", card)
    (target,) = [row["service_provider"] for row in rows if row["state"] == "disabled"]
    operation = await made.order(card, Kind.ENABLE, str(target))
    await made.visit(card)
    return made, card, operation


async def test_an_operation_is_told_from_its_order_to_its_end(database: Database) -> None:
    _, card, operation = await switched(database)
    told = [t.entry for t in await history(database, card) if t.entry.data.get("operation") == str(operation)]
    assert [(e.source, e.what) for e in told] == [
        ("order", "operation.accepted"),
        ("package", "package.sealed"),
        ("package", "package.handed"),
        ("result", "result.verified"),
        ("event", "operation.done"),
    ]
    order, sealed, handed, result, _ = told
    assert order.data["by"] == "setup"
    assert sealed.data["counter"] == handed.data["counter"] == result.data["counter"]
    assert (result.data["form"], result.data["late"]) == ("token", False)


async def test_what_the_eim_orders_by_itself_is_there_with_its_reason(database: Database) -> None:
    _, card, _ = await switched(database)
    entries = [t.entry for t in await history(database, card)]
    own = [e for e in entries if e.source == "order" and e.data["by"] == "eim"]
    assert "ipaEuiccDataRequest" in {e.data["kind"] for e in own}
    served = [e for e in entries if e.what == "request.served"]
    assert all(e.data["by"] == "worker" and e.data["reason"] for e in served)


async def test_onboarding_and_what_operators_did_is_there_with_who(database: Database) -> None:
    made, card, _ = await switched(database)
    await Traces(database.pool(DbRole.OPERATOR)).clear(SETUP, Eid(card.eid))
    await made.work()
    told = [t.entry for t in await history(database, card)]
    assert (told[0].source, told[0].what, told[0].data["by"]) == ("audit", "euicc.onboard", "setup")
    assert (told[-1].what, told[-1].data["by"]) == ("trace.clear", "setup")


async def test_nothing_is_told_twice(database: Database) -> None:
    _, card, _ = await switched(database)
    entries = [t.entry for t in await history(database, card)]
    assert len({e.id for e in entries}) == len(entries)
    assert len({(e.what, str(e.data)) for e in entries}) == len(entries)


async def test_what_a_card_tells_of_itself_is_no_error(database: Database) -> None:
    _, card, _ = await switched(database)
    (data,) = [t for t in await history(database, card) if t.entry.data.get("kind") == "data"]
    assert (data.entry.what, data.meaning) == ("result.data", None)


async def test_an_unsigned_error_is_told_once_with_what_it_means(database: Database) -> None:
    made, card, _ = await switched(database)
    await made.order(card, Kind.LIST_PROFILES)
    assert await made.poll(card) is not None
    error = bytes.fromhex("BF5113A211800F65696D2E6578616D706C652E636F6D")
    await made.provide(card, error)
    told = [t for t in await history(database, card) if t.entry.what == "result.unsigned"]
    assert len(told) == 1
    assert told[0].meaning is not None
    assert "anybody could have sent" in told[0].meaning.means


async def test_pages_give_every_entry_once_in_order(database: Database) -> None:
    _, card, _ = await switched(database)
    timelines, before = Timelines(database.pool(DbRole.OPERATOR)), END
    found: list[Told] = []
    while True:
        _, page = await timelines.page(SETUP, Eid(card.eid), before, 3)
        if not page:
            break
        found += page
        last = page[-1].entry
        before = (last.at, last.rank, last.id)
    whole = await history(database, card)
    assert [t.entry.id for t in reversed(found)] == [t.entry.id for t in whole]
    times = [t.entry.at for t in whole]
    assert times == sorted(times)


async def test_a_failure_is_named_and_told_what_to_do(database: Database) -> None:
    made, card, _ = await switched(database)
    (disabled,) = [row for row in await made.rows("profiles", card) if row["state"] == "disabled"]
    await made.order(card, Kind.DELETE, str(disabled["service_provider"]))
    await database.owner().execute("UPDATE operations SET iccid = '\\x98001032547698103299' WHERE kind = 'delete'")
    await made.visit(card)
    failed = next(t for t in await history(database, card) if t.entry.what == "operation.failed")
    assert failed.entry.data["reason"] == "iccidOrAidNotFound"
    assert failed.meaning is not None
    assert "eim devices show" in failed.meaning.next_step


async def test_another_tenants_device_is_not_there(database: Database) -> None:
    _, card, _ = await switched(database)
    other = Caller(TenantId(2), "token:other", SETUP.scopes)
    with pytest.raises(NotFound):
        await Timelines(database.pool(DbRole.OPERATOR)).page(other, Eid(card.eid), END, 10)
