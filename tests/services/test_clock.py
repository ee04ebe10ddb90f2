"""What was due when the database's clock was set back stays due; what keeps to the clock is left alone.

The clock is set back by moving an hour on what was written before. tests/chaos/test_clock.py steps it really.
"""

from datetime import UTC, datetime, timedelta

from eim.domain import opening
from eim.domain.operation import Kind
from eim.services.clock import Watch
from eim.sim import messages
from eim.store.connect import DbRole
from tests.database import Database
from tests.services import rig as rigs

_HOUR = timedelta(hours=1)
_WRITTEN_LATER = (
    "UPDATE operations SET created_at = created_at + $1::interval, not_before = not_before + $1::interval",
    "UPDATE packages SET not_before = not_before + $1::interval",
    "UPDATE mailbox SET not_before = not_before + $1::interval",
    "UPDATE requests SET created_at = created_at + $1::interval, not_before = not_before + $1::interval",
)
_PAUSED = (
    "UPDATE operations SET attempts = 1, not_before = now() + $1::interval WHERE state = 'accepted'",
    "UPDATE notifications SET state = 'waiting', attempts = 3, tried_at = now(), due_at = now() + $1::interval",
)


async def test_what_was_due_goes_out_and_what_has_a_time_or_a_window_waits(database: Database) -> None:
    rig = await rigs.start(database, 4)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    accepted, sealed, later, windowed = rig.cards
    placed = await rig.order(sealed, Kind.ENABLE, "Carrier B")
    await rig.work()
    behind = await rig.order(sealed, Kind.LIST_PROFILES)
    waits = await rig.order(accepted, Kind.ENABLE, "Carrier B")
    timed = await rig.order(later, Kind.ENABLE, "Carrier B", not_before=datetime.now(UTC) + timedelta(minutes=30))
    soon, end = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (-5, 5))
    opened = opening.parse(f"{soon:%H:%M}-{end:%H:%M} UTC")
    in_window = await rig.order(windowed, Kind.ENABLE, "Carrier B", opening=opened)
    watch = Watch(database.pool(DbRole.WORKER), rig.leasing)
    assert await watch.look() == 0
    for statement in _WRITTEN_LATER:
        await database.owner().execute(statement, _HOUR)
    assert await rig.poll(sealed) is None
    assert await rig.poll(accepted) is None

    assert watch._seen is not None
    watch._seen = watch._seen[0] + _HOUR, watch._seen[1] - 10  # the last look was ten seconds ago, at a later hour
    assert await watch.look() > 0
    for card in rig.cards:
        await rig.visit(card)
    states = [(await rig.operation(each))["state"] for each in (placed, behind, waits, timed, in_window)]
    assert states == ["done", "done", "done", "accepted", "accepted"]


async def test_a_pause_before_the_next_try_lasts_no_longer_for_it(database: Database) -> None:
    """A minute is left of the pause of an operation and of a notification; then the clock is set back by an hour."""
    rig = await rigs.start(database)
    await rig.onboard()
    (card,) = rig.cards
    await rig.visit(card)
    await rig.order(card, Kind.ENABLE, "Carrier B")
    await rig.visit(card)
    for pending in card.notifications:
        await rig.send(messages.notification(pending.raw), card.eid)
    tried = await rig.order(card, Kind.LIST_PROFILES)
    watch = Watch(database.pool(DbRole.WORKER), rig.leasing)
    await watch.look()
    left = timedelta(minutes=1)
    for statement in _PAUSED:
        await database.owner().execute(statement, _HOUR + left)

    assert watch._seen is not None
    watch._seen = watch._seen[0] + _HOUR, watch._seen[1] - 10
    assert await watch.look() > 1
    due = [(await rig.operation(tried))["not_before"], *(n["due_at"] for n in await rig.rows("notifications", card))]
    assert len(due) > 1
    for each in due:
        assert isinstance(each, datetime)
        assert timedelta(seconds=30) < each - datetime.now(UTC) <= left


async def test_a_clock_that_runs_on_or_is_set_forward_changes_nothing(database: Database) -> None:
    rig = await rigs.start(database)
    await rig.onboard()
    await rig.visit(rig.cards[0])
    timed = await rig.order(rig.cards[0], Kind.LIST_PROFILES, not_before=datetime.now(UTC) + _HOUR)
    due = (await rig.operation(timed))["not_before"]
    watch = Watch(database.pool(DbRole.WORKER), rig.leasing)
    await watch.look()
    for ahead in (timedelta(0), -_HOUR):
        assert watch._seen is not None
        watch._seen = watch._seen[0] + ahead, watch._seen[1] - 10
        assert await watch.look() == 0
    assert (await rig.operation(timed))["not_before"] == due
