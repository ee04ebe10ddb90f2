"""EIDs that call and that nobody onboarded: counted, bounded, and no burden to anyone."""

import asyncpg
import pytest

from eim.domain.euicc import Speaks
from eim.domain.ids import Eid, TenantId, format_eid
from eim.errors import Conflict, Forbidden
from eim.protocol.esipa import NO_PACKAGE
from eim.services.strangers import MOST, MOST_OF_ONE, Strangers, network_of
from eim.services.unknown import Terms
from eim.sim import messages
from eim.sim.pki import EIN, eids
from eim.store import unknown
from eim.store.connect import DbRole, transaction
from eim.store.unknown import Noted
from tests.database import Database
from tests.operator_side import caller_of, eid_of, eid_text, onboard, services_of
from tests.services import rig as rigs


async def listed(database: Database) -> dict[str, int]:
    rows = await database.owner().fetch("SELECT eid, polls FROM unknown_callers")
    return {format_eid(row["eid"]): row["polls"] for row in rows}


async def test_who_polls_without_being_onboarded_is_counted_and_answered_like_everyone(database: Database) -> None:
    rig = await rigs.start(database)
    stranger, mistyped = eid_of(1), Eid(eid_of(1)[:-1] + b"\x00")
    for _ in range(3):
        assert await rig.send(messages.poll(stranger, Speaks.V1_2, None, None)) == NO_PACKAGE
    await rig.send(messages.poll(mistyped, Speaks.V1_2, None, None))
    assert await listed(database) == {}  # nothing is written while they poll
    await rig.seen.strangers.flush()
    assert await listed(database) == {eid_text(1): 3}
    await rig.send(messages.poll(stranger, Speaks.V1_2, None, None))
    await rig.seen.strangers.flush()
    assert await listed(database) == {eid_text(1): 4}


async def test_a_flood_from_one_network_fills_its_share_and_no_more(database: Database) -> None:
    strangers = Strangers(database.pool(DbRole.DEVICE))
    real = eid_of(7)
    strangers.note(real, "2001:db8:1::9")
    for eid in eids(EIN, MOST_OF_ONE + 500):
        strangers.note(eid, "192.0.2.77")
    strangers.note(real, "2001:db8:1::9")
    await strangers.flush()
    found = await listed(database)
    assert len(found) == MOST_OF_ONE + 1
    assert found[eid_text(7)] == 2


async def test_a_flood_from_everywhere_is_bounded_in_memory(database: Database) -> None:
    strangers = Strangers(database.pool(DbRole.DEVICE))
    for number, eid in enumerate(eids(EIN, MOST + 1000)):
        strangers.note(eid, f"10.{number >> 8}.{number & 255}.1")
    await strangers.flush()
    assert len(await listed(database)) == MOST


async def test_the_table_is_bounded_by_the_database_and_who_calls_often_stays(database: Database) -> None:
    often = [eid_of(number) for number in range(37)]
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await unknown.note(db, [Noted(eid, "198.51.100.0/24", 2) for eid in often])
    random = eids(EIN, 14_000)
    for start in range(0, len(random), 2_000):
        some = random[start : start + 2_000]
        async with transaction(database.pool(DbRole.DEVICE)) as db:
            await unknown.note(db, [Noted(eid, f"10.{start // 2000}.{n % 5}.0/24", 1) for n, eid in enumerate(some)])
    found = await listed(database)
    assert len(found) == 10_000
    assert all(found[format_eid(eid)] == 2 for eid in often)
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await unknown.note(db, [Noted(eid, "203.0.113.0/24", 9) for eid in random[:4_000]])
    one = await database.owner().fetchval("SELECT count(*) FROM unknown_callers WHERE source = '203.0.113.0/24'")
    assert one == 2_500


@pytest.mark.parametrize("statement", [
    "INSERT INTO unknown_callers (eid, source, polls) VALUES ('\\x00', '', 1)",
    "UPDATE unknown_callers SET polls = 1",
    "DELETE FROM unknown_callers",
    "SELECT eid FROM unknown_callers",
])  # fmt: skip
async def test_the_device_role_has_no_other_way_into_the_table(database: Database, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.pool(DbRole.DEVICE).execute(statement)


async def test_who_is_onboarded_meanwhile_is_not_listed(database: Database) -> None:
    await database.seed_identity()
    await onboard(database, [1])
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await unknown.note(db, [Noted(eid_of(1), "10.0.0.0/24", 1), Noted(eid_of(2), "10.0.0.0/24", 1)])
    assert await listed(database) == {eid_text(2): 1}


async def test_onboarding_by_any_way_takes_an_eid_off_the_list(database: Database) -> None:
    await database.seed_identity()
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await unknown.note(db, [Noted(eid_of(n), "10.0.0.0/24", 1) for n in (1, 2, 3)])
    await onboard(database, [1, 3])
    assert await listed(database) == {eid_text(2): 1}


async def test_only_the_installations_own_tenant_sees_and_adopts_them(database: Database) -> None:
    await database.seed_identity()
    async with transaction(database.pool(DbRole.DEVICE)) as db:
        await unknown.note(db, [Noted(eid_of(n), "10.0.0.0/24", n) for n in (1, 2)])
    callers = services_of(database).unknown
    with pytest.raises(Forbidden):
        await callers.page(caller_of(TenantId(2)), (9, eid_of(1)), 10)
    assert await callers.count(caller_of(TenantId(2))) == 0
    assert await callers.count(caller_of()) == 2
    with pytest.raises(Conflict, match="2 EIDs"):
        await callers.adopt_all(caller_of(), None, Terms(), None)
    done = await callers.adopt_all(caller_of(), 2, Terms(tags=("found",)), None)
    assert len(done.eids) == 2
    assert await listed(database) == {}


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unknown", "unknown"),
    ],
)
def test_the_network_of_an_address(peer: str, network: str) -> None:
    assert network_of(peer) == network
