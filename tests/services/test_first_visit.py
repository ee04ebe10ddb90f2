"""A card that calls for the first time is onboarded in one visit, and a switch goes out, comes back, and is known."""

from tests.database import Database
from tests.services import rig as rigs


async def test_a_new_card_is_introduced_and_listed_in_its_first_visit(database: Database) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    card = rig.cards[0]
    assert await rig.visit(card) == 2  # the data request, then listProfileInfo
    (row,) = await rig.rows("euiccs", card)
    assert row["introduced_at"] is not None
    assert row["association_token"] == 1
    assert row["signature_form"] == "token"
    assert row["token_proven"] is True
    profiles = {p["service_provider"]: p["state"] for p in await rig.rows("profiles", card)}
    assert profiles == {"Carrier A": "enabled", "Carrier B": "disabled"}
    assert {o["state"] for o in await rig.rows("operations", card)} == {"done"}
    assert not card.results


async def test_an_unknown_eid_hears_nothing_and_leaves_nothing(database: Database) -> None:
    rig = await rigs.start(database)
    assert await rig.poll(rig.cards[0]) is None
    assert await rig.rows("euiccs", rig.cards[0]) == []
