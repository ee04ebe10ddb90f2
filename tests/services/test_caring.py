"""What an eUICC had goes with it, whatever is added to it meanwhile."""

import asyncio
from typing import Final

import pytest

from eim.domain.ids import TenantId, bucket_of, format_eid
from eim.domain.operation import Kind
from eim.errors import InvalidLines
from eim.services.caring import Care, Guard, not_onboarded
from eim.services.onboarding import Candidate, Rules
from eim.services.tokens import SETUP
from eim.sim.euicc import VirtualEuicc
from eim.store import estate
from eim.store.connect import DbRole, transaction
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

# All that has rows of a card.
_TABLES: Final = """
    SELECT array_agg(c.relname::text ORDER BY c.relname) FROM pg_class c
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
       AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'bucket')
       AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'eid')
"""
_EVIDENCE: Final = {"departed", "events", "notifications", "results"}


@pytest.fixture
async def rig(database: Database) -> Rig:
    """Two cards that have had work, have a package out, and have more ordered."""
    rig = await rigs.start(database, 2)
    await rig.onboard(tags=("meter",))
    for card in rig.cards:
        await rig.visit(card)
        await rig.order(card, Kind.ENABLE, "Carrier B")
        await rig.visit(card)
        for carrier in ("Carrier A", "Carrier B"):
            await rig.order(card, Kind.ENABLE, carrier)
        assert await rig.poll(card) is not None
        await rig.order(card, Kind.LIST_PROFILES)
    return rig


async def _left(rig: Rig, card: VirtualEuicc) -> set[str]:
    """The tables in which the card has rows."""
    tables = await rig.database.owner().fetchval(_TABLES)
    assert {"euiccs", "mailbox", "operations", "packages", "profiles"} <= set(tables)
    return {table for table in tables if await rig.rows(table, card)}


async def test_what_is_taken_out_leaves_evidence_alone_behind_and_others_keep_all(rig: Rig) -> None:
    gone, stays = rig.cards
    before = await _left(rig, stays)
    assert {"euiccs", "mailbox", "operations", "packages", "profiles", "results"} <= await _left(rig, gone)
    await Care(rig.database.pool(DbRole.OPERATOR)).offboard(SETUP, gone.eid, "sold", Guard.FORCED)
    assert await _left(rig, gone) <= _EVIDENCE
    assert await _left(rig, stays) == before


async def test_what_is_replaced_by_an_import_leaves_evidence_alone_behind(rig: Rig) -> None:
    gone, stays = rig.cards
    before = await _left(rig, stays)
    async with transaction(rig.database.owner()) as db:
        await estate.remove(db, bucket_of(gone.eid), gone.eid)
    assert await _left(rig, gone) <= _EVIDENCE
    assert await _left(rig, stays) == before


async def test_what_the_delete_of_the_release_before_leaves_serves_nobody_and_is_forgotten_with_the_next_card(
    rig: Rig,
) -> None:
    gone, stays = rig.cards
    async with transaction(rig.database.pool(DbRole.OPERATOR), tenant=SETUP.tenant) as db:
        removed = await db.execute(
            "DELETE FROM euiccs WHERE bucket = $1 AND eid = $2 AND tenant = $3", bucket_of(gone.eid), gone.eid, 1
        )
    assert removed == "DELETE 1"
    assert await _left(rig, gone) >= {"operations", "packages"}
    assert await rig.poll(gone) is None
    await rig.visit(stays)
    assert {str(row["state"]) for row in await rig.rows("operations", stays)} <= {"done", "failed"}
    await rig.onboarding.add(SETUP, Candidate(eid=format_eid(gone.eid)), Rules(), None)
    assert str(Kind.ENABLE) not in {str(row["kind"]) for row in await rig.rows("operations", gone)}
    assert await rig.rows("packages", gone) == []


async def test_what_belongs_to_a_card_that_is_here_is_not_forgotten(rig: Rig) -> None:
    before = {card: await _left(rig, card) for card in rig.cards}
    async with transaction(rig.database.pool(DbRole.OPERATOR), tenant=SETUP.tenant) as db:
        eids = [card.eid for card in rig.cards]
        await db.execute("SELECT forget($1::smallint[], $2::bytea[])", [bucket_of(eid) for eid in eids], eids)
    assert {card: await _left(rig, card) for card in rig.cards} == before


async def test_an_operator_of_another_tenant_takes_nothing_with_a_card_that_is_not_theirs(rig: Rig) -> None:
    card = rig.cards[0]
    before = await _left(rig, card)
    await rig.database.owner().execute("INSERT INTO tenants (id, name) VALUES (2, 'other')")
    async with transaction(rig.database.pool(DbRole.OPERATOR), tenant=TenantId(2)) as db:
        removed = await db.execute("DELETE FROM euiccs WHERE bucket = $1 AND eid = $2", bucket_of(card.eid), card.eid)
    assert removed == "DELETE 0"
    assert await _left(rig, card) == before


async def test_orders_and_seals_that_come_while_a_card_goes_leave_nothing_behind(rig: Rig) -> None:
    care = Care(rig.database.pool(DbRole.OPERATOR))

    async def keep_ordering(card: VirtualEuicc) -> None:
        while True:
            await rig.order(card, Kind.LIST_PROFILES)

    async def until_refused(card: VirtualEuicc) -> None:
        with pytest.raises(InvalidLines) as refused:
            await keep_ordering(card)
        assert [text for _, text in refused.value.lines] == [str(not_onboarded(card.eid))]

    for card in rig.cards:
        ordering = [asyncio.create_task(until_refused(card)) for _ in range(3)]
        sealing = asyncio.create_task(rig.work())
        await asyncio.sleep(0.05)
        await care.offboard(SETUP, card.eid, "sold", Guard.FORCED)
        await asyncio.gather(*ordering, sealing)
        await rig.work()
        assert await _left(rig, card) <= _EVIDENCE
