"""Keys that follow each other, with cards that obey one key only: whatever is lost on the way, both sides agree."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress

import pytest

from eim.domain.ids import IdentityId, format_eid
from eim.domain.operation import Kind
from eim.errors import Conflict, Contended, Guarded, Unconfirmed
from eim.services.again import again
from eim.services.caring import Care, Guard
from eim.services.moving import Associations, Move, Moving
from eim.services.onboarding import Candidate, Rules
from eim.services.tenants import Tenants, Wanted
from eim.services.tokens import SETUP, Caller, Scope
from eim.sim.euicc import VirtualEuicc
from eim.sim.journal import Executed, Received, Verdict
from eim.store.connect import DbRole
from eim.store.renewals import Which
from eim.store.tenants import Limits
from tests.database import Database
from tests.model.actions import other_tenant
from tests.services import rig as rigs
from tests.services.rig import Rig

B = "Carrier B"
IDENTITY = IdentityId(1)


@pytest.fixture
async def rig(database: Database) -> Rig:
    """One card, introduced and listed, and a newer key for it."""
    made = await introduced(database, 1)
    await made.add_key()
    return made


async def introduced(database: Database, devices: int) -> Rig:
    made = await rigs.start(database, devices)
    await made.onboard()
    for card in made.cards:
        await made.visit(card)
    return made


def desk(rig: Rig) -> Associations:
    return Associations(rig.database.pool(DbRole.OPERATOR), 10_000)


async def move(rig: Rig) -> Moving:
    return await desk(rig).move(SETUP, IDENTITY, Move("test"), None)


async def row(rig: Rig, card: VirtualEuicc) -> dict[str, object]:
    (found,) = await rig.rows("euiccs", card)
    return found


async def renewal(rig: Rig, card: VirtualEuicc) -> dict[str, object]:
    (found,) = [o for o in await rig.rows("operations", card) if o["kind"] == "renewAssociation"]
    return found


def obeys(card: VirtualEuicc, rig: Rig, name: str) -> bool:
    known = card.associations.find(rigs.EIM_ID)
    assert known is not None
    return known.key.public_numbers().x.to_bytes(32, "big") == rig.keys.signers[name].spki[-64:-32]


async def works(rig: Rig, card: VirtualEuicc) -> None:
    """The card and we agree: what is ordered now is done at once."""
    order = await rig.order(card, Kind.LIST_PROFILES)
    await rig.visit(card)
    ended = await rig.operation(order)
    assert (ended["state"], ended["doubt"]) == ("done", None)


async def test_a_card_moves_to_the_newer_key_and_what_was_ordered_behind_follows_with_it(rig: Rig) -> None:
    card = rig.cards[0]
    moved = await move(rig)
    assert (moved.ordered, moved.left, moved.key) == (1, 0, 1)
    order = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    assert obeys(card, rig, "next")
    assert (await rig.operation(order))["state"] == "done"
    now = await row(rig, card)
    assert (now["key_number"], now["next_key"], now["association"]) == (1, None, 0)
    await works(rig, card)
    assert not [e for e in rig.journal.entries if isinstance(e, Received) and e.verdict is Verdict.BAD_SIGNATURE]


async def test_nothing_is_sealed_behind_a_package_that_changes_the_key(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    await rig.order(card, Kind.ENABLE, B)
    await rig.work()
    assert [p["state"] for p in await rig.rows("packages", card) if p["state"] != "ended"] == ["head"]


async def test_moves_ordered_at_once_move_each_card_once(database: Database) -> None:
    rig = await introduced(database, 3)
    await rig.add_key()
    moved = await asyncio.gather(*(again(lambda: move(rig)) for _ in range(6)))
    assert sum(each.ordered for each in moved) == 3
    for card in rig.cards:
        await renewal(rig, card)  # exactly one
        await rig.visit(card)
        assert obeys(card, rig, "next")
        await works(rig, card)


async def test_a_move_without_a_key_to_go_to_is_parked_and_holds_up_nobody(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    await rig.database.owner().execute("UPDATE euiccs SET next_key = NULL")
    order = await rig.order(card, Kind.ENABLE, B)
    for _ in range(6):
        await rig.soon()
        await rig.visit(card)
    assert "has no key to move" in str((await renewal(rig, card))["parked"])
    assert (await rig.operation(order))["state"] == "done"


async def test_a_card_that_is_taken_out_and_comes_back_is_commanded_with_the_key_that_it_obeys(rig: Rig) -> None:
    """The identity's key for new cards is still the first one."""
    card = rig.cards[0]
    await move(rig)
    await rig.visit(card)
    assert obeys(card, rig, "next")
    await Care(rig.database.pool(DbRole.OPERATOR)).offboard(SETUP, card.eid, "a mistake", Guard.HOLDS)
    await rig.onboard()
    assert (await row(rig, card))["key_number"] == 1
    await rig.visit(card)
    await works(rig, card)
    assert not [e for e in rig.journal.entries if isinstance(e, Received) and e.verdict is Verdict.BAD_SIGNATURE]


async def test_a_card_that_comes_back_with_another_token_has_the_key_that_new_cards_have(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    await rig.visit(card)
    await Care(rig.database.pool(DbRole.OPERATOR)).offboard(SETUP, card.eid, "reset", Guard.HOLDS)
    await rig.onboard(association_token=77)
    assert (await row(rig, card))["key_number"] == 0


async def test_tenants_that_share_the_identity_have_its_later_keys_too(database: Database) -> None:
    rig = await rigs.start(database)
    before, card = await other_tenant(database), rig.cards[0]
    await rig.onboarding.add(before, Candidate(format_eid(card.eid)), Rules(), None)
    await rig.visit(card)
    await rig.add_key()
    tenants = Tenants(database.pool(DbRole.OPERATOR))
    after = await tenants.create(SETUP, Wanted("later", Limits(), rigs.EIM_ID), None)
    theirs = {
        row["tenant"]: IdentityId(row["id"])
        for row in await database.owner().fetch("SELECT id, tenant FROM identities")
    }
    moved = await desk(rig).move(before, theirs[before.tenant], Move("ours, too"), None)
    assert (moved.ordered, moved.key) == (1, 1)
    await rig.visit(card)
    assert obeys(card, rig, "next")
    assert (await row(rig, card))["key_number"] == 1
    later = Caller(after.id, "later", frozenset(Scope))
    assert [state.key.number for state in await desk(rig).keys(later, theirs[after.id])] == [0, 1]


async def lost_result(rig: Rig) -> bytes:
    """The card executed the updateEim, and the result never came."""
    card = rig.cards[0]
    await move(rig)
    package = await rig.poll(card)
    assert package is not None
    rig.execute(card, package)
    assert obeys(card, rig, "next")
    assert await rig.poll(card) == package
    return package


async def test_a_lost_result_of_the_move_is_fetched_from_the_card(rig: Rig) -> None:
    card = rig.cards[0]
    order = await rig.order(card, Kind.ENABLE, B)
    await rig.visit(card)
    package = await lost_result(rig)
    behind = await rig.order(card, Kind.ENABLE, "Carrier A")
    await rig.provide(card, rig.execute(card, package))  # it can't be verified with the new key: an unsigned error
    assert (await renewal(rig, card))["doubt"] == "unsigned"
    await rig.visit(card)
    ended = await renewal(rig, card)
    assert (ended["state"], ended["outcome"]["late"]) == ("done", True)  # type: ignore[index]
    assert (await row(rig, card))["key_number"] == 1
    assert [(await rig.operation(o))["state"] for o in (order, behind)] == ["done", "done"]
    await works(rig, card)


async def test_where_the_card_forgot_the_result_a_package_with_the_new_key_shows_that_it_holds(rig: Rig) -> None:
    card = rig.cards[0]
    package = await lost_result(rig)
    for result in card.results:
        card.remove_notification(result.seq)
    behind = await rig.order(card, Kind.ENABLE, B)
    await rig.provide(card, rig.execute(card, package))
    await rig.visit(card)
    ended = await renewal(rig, card)
    assert (ended["state"], ended["outcome"]["resolved_by"]) == ("done", "key")  # type: ignore[index]
    assert (await row(rig, card))["key_number"] == 1
    assert (await rig.operation(behind))["state"] == "done"
    await works(rig, card)


async def test_where_the_card_never_executed_the_move_the_old_key_is_found_to_hold(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    assert await rig.poll(card) is not None  # handed out, and lost on the way
    await rig.operations.withdraw(SETUP, (await renewal(rig, card))["id"])  # type: ignore[arg-type]
    behind = await rig.order(card, Kind.ENABLE, B)
    for _ in range(3):
        await rig.soon()
        try:
            await rig.visit(card)
        except AssertionError:  # what the wrong key signed stays out until its time
            continue
    ended = await renewal(rig, card)
    assert (ended["state"], ended["outcome"]["reason"]) == ("failed", "notExecuted")  # type: ignore[index]
    assert (await row(rig, card))["key_number"] == 0
    assert (await rig.operation(behind))["state"] == "done"
    await works(rig, card)
    again = await move(rig)
    assert again.ordered == 1
    await rig.visit(card)
    assert obeys(card, rig, "next")


async def test_while_it_is_not_known_which_key_holds_only_what_clears_that_goes_out(rig: Rig) -> None:
    card = rig.cards[0]
    package = await lost_result(rig)
    await rig.order(card, Kind.ENABLE, B)
    await rig.provide(card, rig.execute(card, package))
    await rig.work()
    open_now = [p for p in await rig.rows("packages", card) if p["state"] in ("head", "waiting")]
    assert [p["counter"] for p in open_now] == [None], "a data request, alone"


async def test_an_old_package_replayed_after_the_move_is_accepted_by_no_card(database: Database) -> None:
    rig = await introduced(database, 10)
    old: dict[VirtualEuicc, list[bytes]] = {}
    for card in rig.cards:
        order = await rig.order(card, Kind.LIST_PROFILES)
        package = await rig.poll(card)
        assert package is not None
        old[card] = [package]
        await rig.provide(card, rig.execute(card, package))
        assert (await rig.operation(order))["state"] == "done"
    await rig.add_key()
    await desk(rig).move(SETUP, IDENTITY, Move("test", new_count=True), None)
    for card in rig.cards:
        await rig.visit(card)
        assert (await row(rig, card))["counter"] == 0
    before = len([e for e in rig.journal.entries if isinstance(e, Executed)])
    for card, packages in old.items():
        for package in packages:
            assert card.load_euicc_package(package)[:2] == b"\xbf\x51"
    assert len([e for e in rig.journal.entries if isinstance(e, Executed)]) == before


async def test_a_fleet_is_counted_by_key_and_the_old_key_retired_when_nobody_obeys_it(database: Database) -> None:
    rig = await introduced(database, 4)
    with pytest.raises(Conflict, match="eim keys rotate"):
        await move(rig)
    await rig.add_key()
    careful = Associations(rig.database.pool(DbRole.OPERATOR), 3)
    with pytest.raises(Unconfirmed, match='"confirm": 4'):
        await careful.move(SETUP, IDENTITY, Move("test"), None)
    first = await careful.move(SETUP, IDENTITY, Move("test", confirm=4, most=3), None)
    assert (first.ordered, first.left) == (3, 1)
    assert [(k.key.number, k.euiccs, k.moving) for k in await desk(rig).keys(SETUP, IDENTITY)] == [(0, 4, 3), (1, 0, 0)]
    for card in rig.cards:
        await rig.visit(card)
    with pytest.raises(Guarded, match="1 eUICCs obey an older key"):
        await desk(rig).retire_keys(SETUP, IDENTITY, 1, "compromised")
    again = await careful.move(SETUP, IDENTITY, Move("test"), None)
    assert (again.ordered, again.left) == (1, 0)
    for card in rig.cards:
        await rig.visit(card)
    assert (await move(rig)).ordered == 0
    retired = await desk(rig).retire_keys(SETUP, IDENTITY, 1, "compromised")
    assert [(k.euiccs, k.is_retired, k.is_loaded) for k in retired] == [(0, True, False), (4, False, True)]


async def test_named_cards_alone_can_be_moved(database: Database) -> None:
    rig = await introduced(database, 3)
    await rig.add_key()
    one = rig.cards[1]
    await desk(rig).move(SETUP, IDENTITY, Move("trial", Which(eids=(one.eid,))), None)
    for card in rig.cards:
        await rig.visit(card)
    assert [obeys(card, rig, "next") for card in rig.cards] == [False, True, False]


async def a_device(rig: Rig, card: VirtualEuicc, polls: int, chance: random.Random) -> None:
    """Polls, and loses answers, results, and what the card keeps of them."""
    for _ in range(polls):
        package = await rig.poll(card)
        if package is None or chance.random() < 0.15:
            continue
        result = rig.execute(card, package)
        if chance.random() < 0.25:
            if chance.random() < 0.5:
                for kept in card.results:
                    card.remove_notification(kept.seq)
            continue
        await rig.provide(card, result)


def one_worker(rig: Rig) -> Callable[[], Coroutine[object, object, int]]:
    """Rounds one at a time, and again where somebody else went first, as the worker's loop has it."""
    turn, work = asyncio.Lock(), rig.work

    async def rounds() -> int:
        async with turn:
            while True:
                with suppress(Contended):
                    return await work()

    return rounds


async def fleet_moves(rig: Rig, polls: int, chance: random.Random) -> None:
    """The move is ordered while devices poll; afterwards each is left alone with us until both agree."""
    vars(rig)["work"] = one_worker(rig)
    devices = [a_device(rig, card, polls, random.Random(chance.random())) for card in rig.cards]

    async def operator() -> None:
        await asyncio.sleep(0.05)
        await again(lambda: move(rig))

    await asyncio.gather(operator(), *devices)
    for card in rig.cards:
        await until_agreed(rig, card)


async def until_agreed(rig: Rig, card: VirtualEuicc) -> None:
    for _ in range(12):
        await rig.soon()
        try:
            await rig.visit(card)
        except AssertionError:
            continue
        if not [o for o in await rig.rows("operations", card) if o["state"] not in ("done", "failed")]:
            return


async def has_one_key_on_both_sides(rig: Rig, cards: Sequence[VirtualEuicc]) -> None:
    for card in cards:
        now = await row(rig, card)
        ours = "next" if now["key_number"] == 1 else "test"
        assert obeys(card, rig, ours), f"{card}: we believe it obeys {ours}"
        assert (now["next_key"], now["trial_key"], now["stalled"]) == (None, None, None)
        await works(rig, card)


async def test_each_device_ends_with_one_key_on_both_sides_however_polls_and_losses_fall(database: Database) -> None:
    rig = await introduced(database, 10)
    for card in rig.cards:
        await rig.order(card, Kind.ENABLE, B)
    await rig.add_key()
    await fleet_moves(rig, 20, random.Random(24))
    await has_one_key_on_both_sides(rig, rig.cards)


@pytest.mark.slow
async def test_ten_thousand_polls_in_flight_while_the_key_moves(database: Database) -> None:
    rig = await introduced(database, 100)
    for card in rig.cards:
        await rig.order(card, Kind.ENABLE, B)
    await rig.add_key()
    await fleet_moves(rig, 100, random.Random(2024))
    await has_one_key_on_both_sides(rig, rig.cards)


async def test_a_card_that_left_with_its_move_done_and_not_told_comes_back_under_the_new_key(rig: Rig) -> None:
    card = rig.cards[0]
    await lost_result(rig)
    await comes_back(rig)
    await settles(rig, card)
    assert (await row(rig, card))["key_number"] == 1
    assert not [e for e in rig.journal.entries if isinstance(e, Received) and e.verdict is Verdict.BAD_SIGNATURE]


async def test_a_card_that_left_without_having_got_its_move_comes_back_under_the_old_key(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    assert await rig.poll(card) is not None  # handed out, and lost on the way
    await comes_back(rig)
    await settles(rig, card)
    assert (await row(rig, card))["key_number"] == 0
    assert (await move(rig)).ordered == 1
    await rig.visit(card)
    assert obeys(card, rig, "next")
    await works(rig, card)


async def test_a_move_that_never_went_out_is_forgotten_with_the_card(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    await rig.work()
    await comes_back(rig)
    now = await row(rig, card)
    assert (now["key_number"], now["next_key"], now["trial_key"]) == (0, None, None)


async def test_a_card_obeys_its_key_also_at_another_tenant_of_the_identity_who_knows_its_token(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    await rig.visit(card)
    other = await other_tenant(rig.database)
    left = await Care(rig.database.pool(DbRole.OPERATOR)).offboard(SETUP, card.eid, "sold", Guard.HOLDS)
    candidate = Candidate(format_eid(card.eid), association_token=left.association_token)
    await rig.onboarding.add(other, candidate, Rules(), None)
    now = await row(rig, card)
    assert (now["key_number"], now["counter"]) == (1, left.counter)
    await rig.visit(card)
    assert (await row(rig, card))["introduced_at"] is not None
    assert not [e for e in rig.journal.entries if isinstance(e, Received) and e.verdict is not Verdict.EXECUTED]


async def test_who_does_not_name_the_token_learns_nothing_of_another_tenants_card(rig: Rig) -> None:
    card = rig.cards[0]
    await move(rig)
    await rig.visit(card)
    other = await other_tenant(rig.database)
    await Care(rig.database.pool(DbRole.OPERATOR)).offboard(SETUP, card.eid, "sold", Guard.HOLDS)
    await rig.onboarding.add(other, Candidate(format_eid(card.eid)), Rules(), None)
    now = await row(rig, card)
    assert (now["key_number"], now["counter"]) == (0, 0)


async def comes_back(rig: Rig) -> None:
    await Care(rig.database.pool(DbRole.OPERATOR)).offboard(SETUP, rig.cards[0].eid, "a mistake", Guard.FORCED)
    await rig.onboard()


async def settles(rig: Rig, card: VirtualEuicc) -> None:
    """It is found out which key the card obeys, whatever goes out with the other one before."""
    for _ in range(4):
        await rig.soon()
        with suppress(AssertionError):  # what the wrong key signed stays out until its time
            await rig.visit(card)
    now = await row(rig, card)
    assert (now["next_key"], now["trial_key"], now["stalled"]) == (None, None, None)
    await works(rig, card)
