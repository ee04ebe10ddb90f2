"""Guessing EIDs learns nothing: the same octets after the same work, whatever we know of an EID."""

from bench._estate import counted, one_connection
from eim.domain import denial
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid, parse_eid
from eim.domain.operation import Kind
from eim.protocol.esipa import NO_PACKAGE, Poll, receive
from eim.services.denials import DenialRounds, Denials, Wanted
from eim.services.polls import Polls, Seen
from eim.services.releasing import BarDesk
from eim.services.tokens import SETUP
from eim.services.waiting import Waiters
from eim.sim import messages
from eim.store.connect import DbRole
from tests.database import Database
from tests.services import rig as rigs


def poll_of(eid: Eid) -> Poll:
    received = receive(messages.poll(eid, Speaks.V1_2, None, None))
    assert isinstance(received, Poll)
    return received


async def test_unknown_idle_quarantined_and_denied_cards_hear_the_same_after_the_same_work(database: Database) -> None:
    rig = await rigs.start(database, devices=3)
    await rig.onboard()
    idle, quarantined, denied = (card.eid for card in rig.cards)
    for card in rig.cards:
        await rig.visit(card)
    for card in rig.cards[1:]:
        await rig.order(card, Kind.LIST_PROFILES)
    await rig.work()
    operator = database.pool(DbRole.OPERATOR)
    await BarDesk(operator).quarantine(SETUP, quarantined, "two devices call")
    await Denials(operator).add(SETUP, Wanted(denial.one(denied), "stolen", eid=denied))
    await DenialRounds(database.pool(DbRole.WORKER), rig.leasing, rigs.now).round()
    pool = await one_connection(database, DbRole.DEVICE)
    polls = Polls(pool, Waiters(pool, 0.0), Seen(pool), rigs.now, NO_PACKAGE)
    unknown = parse_eid("89049032123451234512345678901235")
    for eid in (unknown, idle, quarantined, denied):
        await polls.answer(poll_of(eid), "192.0.2.1")  # its statements are prepared now
        async with counted(pool) as statements:
            assert await polls.answer(poll_of(eid), "192.0.2.1") == NO_PACKAGE
        assert len(statements) == 1
    await pool.close()
