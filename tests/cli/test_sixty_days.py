"""A card that vanishes for 60 days with work in every state, as `eim devices show` tells it (docs/operations.md)."""

from datetime import timedelta

from eim.domain.ids import format_eid
from tests.cli.conftest import Eim
from tests.database import Database
from tests.services import rig as rigs
from tests.services.test_sixty_days import CASES, _come_back, _let_pass


async def test_devices_show_explains_each_outcome_while_the_card_is_away_and_when_it_is_back(
    eim: Eim, database: Database
) -> None:
    await database.owner().execute("DELETE FROM identities")  # the rig has one with a key
    rig = await rigs.start(database, len(CASES))
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    placed = [await case.prepare(rig, card) for case, card in zip(CASES, rig.cards, strict=True)]
    await _let_pass(rig, timedelta(days=60))
    await rig.work()

    async def shown(number: int) -> str:
        """What is said of the case's operation, in one line."""
        output = (await eim("devices", "show", format_eid(rig.cards[number].eid))).output
        told = " ".join(output.split())
        before, _, _ = told.partition(f"({placed[number]})")
        return before[-600:]

    for number, case in enumerate(CASES):
        said = await shown(number)
        assert f"is {case.away[0]}:" in said, (case.prepare.__name__, said)
        assert case.away[1] in said, (case.prepare.__name__, said)
        assert "Next: " in said
    for number, (case, card) in enumerate(zip(CASES, rig.cards, strict=True)):
        await _come_back(rig, card)
        said = await shown(number)
        assert f"is {case.back[0]}:" in said, (case.prepare.__name__, said)
        assert case.back[2] in said, (case.prepare.__name__, said)
        assert "Next: " in said
