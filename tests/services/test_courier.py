"""Deliveries against receivers on real sockets: at least once, in each card's order, whatever the receiver does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from eim.domain.ids import bucket_of
from eim.services.courier import DeliveryRules, Replaced
from eim.services.leasing import Leasing
from eim.store import events
from eim.store.connect import DbRole, transaction
from eim.store.webhooks import Settings
from tests.database import Database
from tests.operator_side import caller_of, eid_of, eid_text, onboard, second_tenant
from tests.post_office import QUICK, PostOffice, event_of, now, post_office

pytestmark = pytest.mark.made_up_events


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[PostOffice]:
    async with post_office(database, tmp_path, patience=0.5) as made:
        yield made


async def test_an_event_arrives_as_a_signed_cloud_event(office: PostOffice) -> None:
    made = await office.subscribe()
    await office.happen([1], 1)
    await office.deliver(office.courier(made))
    (post,) = office.receiver.posts
    assert post.signed_by(made.secret)
    assert post.path == "/hook?a=b"
    assert post.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    told = post.event
    assert told.pop("time").endswith("Z")
    assert told == {
        "id": post.ident,
        "source": "/eims/eim.example.com",
        "specversion": "1.0",
        "type": "eim.operation.done",
        "subject": f"eid/{eid_text(1)}",
        "datacontenttype": "application/json",
        "dataschema": "urn:eim:event:operation.done:1",
        "data": {"n": 1},
    }


async def test_events_before_the_webhook_are_not_told_and_those_after_once(office: PostOffice) -> None:
    await office.happen([1], 0)
    made = await office.subscribe()
    courier = office.courier(made)
    for n in (1, 2, 3):
        await office.happen([1, 2], n)
        await office.deliver(courier)
    assert office.receiver.subjects() == {f"eid/{eid_text(c)}": [1, 2, 3] for c in (1, 2)}
    assert len(office.receiver.posts) == 6


async def test_a_new_courier_goes_on_where_the_one_before_was(office: PostOffice) -> None:
    made = await office.subscribe()
    await office.happen(range(20), 1)
    await office.deliver(office.courier(made))
    await office.happen(range(20), 2)
    await office.deliver(office.courier(made))
    assert len(office.receiver.posts) == 40


async def test_what_commits_late_is_not_lost_and_nothing_overtakes_it(office: PostOffice) -> None:
    office.patience = 0.3
    made = await office.subscribe()
    courier = office.courier(made)
    async with transaction(office.database.pool(DbRole.DEVICE)) as slow:
        await events.append(slow, caller_of().tenant, [event_of(eid_of(1), 1)])
        await office.happen([2, 3], 1)
        await office.deliver(courier)
        assert office.receiver.posts == []  # who knows what the open transaction still says
    office.patience = 10.0
    await office.deliver(courier)
    assert office.receiver.subjects() == {f"eid/{eid_text(c)}": [1] for c in (1, 2, 3)}


async def test_a_transaction_that_stays_open_holds_back_only_what_came_after_it(office: PostOffice) -> None:
    office.patience = 0.3
    made = await office.subscribe()
    courier = office.courier(made)
    await office.happen([1], 1)
    async with transaction(office.database.pool(DbRole.DEVICE)) as slow:
        await slow.fetchval("SELECT pg_current_xact_id()")
        await office.happen([1], 2)
        await office.deliver(courier)
        await office.happen([1], 3)
        await office.deliver(courier)
    office.patience = 10.0
    await office.deliver(courier)
    assert office.receiver.subjects() == {f"eid/{eid_text(1)}": [1, 2, 3]}


@pytest.mark.parametrize("fault", ["slow", "close", "half", "redirect", "later", 500, 404])
async def test_a_failed_delivery_is_tried_again_and_keeps_the_cards_order(office: PostOffice, fault: int | str) -> None:
    made = await office.subscribe()
    first = eid_text(1)
    failures = iter([fault, fault])
    office.receiver.answer = lambda post: next(failures, 204) if first in post.event["subject"] else 204
    courier = office.courier(made)
    await office.happen([1, 2], 1)
    await office.happen([1, 2], 2)
    for _ in range(150):
        await courier.round()
        await asyncio.sleep(0.03)
        if len(office.receiver.taken) == 4:
            break
    await office.happen([1, 2], 3)
    await office.deliver(courier)
    assert office.receiver.subjects() == {f"eid/{eid_text(c)}": [1, 2, 3] for c in (1, 2)}
    assert await office.count("webhook_waits") == 0
    repeats = [post for post in office.receiver.posts if post.event["data"]["n"] == 1 and first in str(post.body)]
    assert len({post.ident for post in repeats}) == 1
    assert len(repeats) == 3


@pytest.mark.parametrize("body", ["drip", "flood"])
async def test_the_body_of_an_answer_is_neither_waited_for_nor_read_to_its_end(office: PostOffice, body: str) -> None:
    made = await office.subscribe()
    office.receiver.answer = lambda _: body
    await office.happen([1], 1)
    started = asyncio.get_running_loop().time()
    await office.courier(made).round()
    assert asyncio.get_running_loop().time() - started < 2
    assert (await office.row(made))["failing_since"] is None
    assert len(office.receiver.posts) == 1


async def test_after_the_last_try_an_event_is_a_dead_letter_and_the_next_ones_go_on(office: PostOffice) -> None:
    made = await office.subscribe()
    office.receiver.answer = lambda post: 500 if post.event["data"]["n"] == 2 else 204
    courier = office.courier(made)
    for n in (1, 2, 3):
        await office.happen([1], n)
    await office.deliver(courier, 60)
    for _ in range(20):
        await courier.round()
        await asyncio.sleep(0.02)
    assert office.receiver.subjects() == {f"eid/{eid_text(1)}": [1, 3]}
    assert sum(post.event["data"]["n"] == 2 for post in office.receiver.posts) == 4
    (dead,) = await office.webhooks.dead_letters(caller_of(), made.webhook.id, (now() - timedelta(1), uuid4()), 10)
    assert (dead.attempts, dead.failure, dead.kind) == (4, "status 500", "operation.done")


async def test_dead_letters_are_tried_once_more_when_asked(office: PostOffice) -> None:
    made = await office.subscribe()
    office.receiver.answer = lambda _: 500
    courier = office.courier(made, msgspec.structs.replace(QUICK, retries=()))
    await office.happen([1, 2], 1)
    await office.deliver(courier)
    assert await office.count("webhook_dead_letters") == 2
    assert await office.webhooks.replay_dead(caller_of(), made.webhook.id) == 2
    await office.deliver(courier)
    assert await office.count("webhook_dead_letters") == 2  # failed again, and kept
    office.receiver.answer = lambda _: 204
    await office.webhooks.replay_dead(caller_of(), made.webhook.id)
    await office.deliver(courier)
    assert await office.count("webhook_dead_letters") == 0
    assert len(office.receiver.taken) == 2


async def test_all_since_a_time_is_delivered_again_when_asked(office: PostOffice) -> None:
    made = await office.subscribe()
    courier = office.courier(made)
    await office.happen([1, 2], 1)
    await office.deliver(courier)
    since = now()
    await office.happen([1, 2], 2)
    await office.deliver(courier)
    await office.webhooks.replay(caller_of(), made.webhook.id, since)
    await office.deliver(courier)
    assert [post.event["data"]["n"] for post in office.receiver.posts] == [1, 1, 2, 2, 2, 2]
    await office.webhooks.replay(caller_of(), made.webhook.id, now())
    await office.deliver(courier)
    assert len(office.receiver.posts) == 6


async def test_who_fails_in_a_row_is_left_alone_and_asked_with_one_event(office: PostOffice) -> None:
    made = await office.subscribe()
    office.receiver.answer = lambda _: 500
    rules = msgspec.structs.replace(QUICK, parallel=4, retries=(timedelta(hours=1),) * 3, pauses=(0.3, 30.0))
    courier = office.courier(made, rules)
    await office.happen(range(200), 1)
    await courier.round()
    assert len(office.receiver.posts) <= 5 + 4
    tried = len(office.receiver.posts)
    await courier.round()
    assert len(office.receiver.posts) == tried
    await asyncio.sleep(0.4)
    await courier.round()
    assert len(office.receiver.posts) == tried + 1
    row = await office.row(made)
    assert (row["failure"], row["failing_since"] is not None) == ("status 500", True)
    assert await office.count("webhook_waits") <= 10


async def test_a_webhook_that_fails_for_too_long_is_switched_off_with_an_event_and_loses_nothing(
    office: PostOffice,
) -> None:
    made, other = await office.subscribe(), await office.subscribe(types=["eim.webhook.*"])
    fails = office.receiver
    fails.answer = lambda post: 500 if post.event["type"] == "eim.operation.done" else 204
    rules = msgspec.structs.replace(
        QUICK, patience=timedelta(milliseconds=50), retries=(timedelta(milliseconds=20),) * 99
    )
    await office.happen(range(30), 1)
    courier = office.courier(made, rules)
    while await courier.round() is not None:  # noqa: ASYNC110 - one round is tested
        await asyncio.sleep(0.02)
    row = await office.row(made)
    assert (row["enabled"], row["disabled_why"]) == (False, "it failed for too long")
    await office.deliver(office.courier(other))
    (told,) = [post.event for post in fails.taken]
    assert (told["type"], told["data"]["webhook"]) == ("eim.webhook.disabled", str(made.webhook.id))
    fails.answer = lambda _: 204
    await office.webhooks.change(caller_of(), made.webhook.id, Settings(office.receiver.url), None)
    await office.deliver(office.courier(made))
    done = [post for post in fails.taken if post.event["type"] == "eim.operation.done"]
    assert len({post.event["subject"] for post in done}) == 30


async def test_410_switches_a_webhook_off_at_once(office: PostOffice) -> None:
    made = await office.subscribe()
    office.receiver.answer = lambda _: 410
    await office.happen([1], 1)
    courier = office.courier(made)
    assert await courier.round() is None
    assert (await office.row(made))["disabled_why"] == "it answered 410: gone"
    assert await courier.round() is None
    assert len(office.receiver.posts) == 1


async def test_only_what_was_asked_for_is_delivered(office: PostOffice) -> None:
    await onboard(office.database, range(1, 7))  # the even ones have the tag "even"
    everything = await office.subscribe()
    certain = await office.subscribe(types=["eim.operation.done", "eim.euicc.*"], tags=["even", "other"])
    nothing = await office.subscribe(types=["eim.result.*"])
    await office.happen(range(1, 7), 1)
    for made, expected in ((everything, {1, 2, 3, 4, 5, 6}), (certain, {2, 4, 6}), (nothing, set())):
        office.receiver.taken.clear()
        await office.deliver(office.courier(made))
        assert set(office.receiver.subjects()) == {f"eid/{eid_text(c)}" for c in expected}


async def test_a_tenants_webhook_hears_of_that_tenant_only(office: PostOffice) -> None:
    other = caller_of(await second_tenant(office.database))
    mine, theirs = await office.subscribe(), await office.subscribe(other)
    await office.happen([1], 1)
    await office.happen([2], 2, other.tenant)
    await office.deliver(office.courier(theirs))
    assert office.receiver.subjects() == {f"eid/{eid_text(2)}": [2]}
    assert office.receiver.taken[0].event["source"] == "/eims/other.example.com"
    await office.deliver(office.courier(mine))
    assert office.receiver.subjects() == {f"eid/{eid_text(1)}": [1], f"eid/{eid_text(2)}": [2]}


async def test_a_test_event_reaches_its_webhook_past_the_filters_and_no_other(office: PostOffice) -> None:
    tested = await office.subscribe(types=["eim.result.*"], tags=["none"])
    other = await office.subscribe()
    ident = await office.webhooks.test(caller_of(), tested.webhook.id)
    await office.deliver(office.courier(other))
    assert office.receiver.posts == []
    await office.deliver(office.courier(tested))
    assert [post.ident for post in office.receiver.posts] == [str(ident)]


async def test_while_a_secret_is_rotated_old_and_new_verify_and_then_only_the_new(office: PostOffice) -> None:
    made = await office.subscribe()
    courier = office.courier(made)
    new = await office.webhooks.rotate(caller_of(), made.webhook.id, timedelta(seconds=1))
    assert new.secret != made.secret
    await office.happen([1], 1)
    await office.deliver(courier)
    await asyncio.sleep(1)
    await office.happen([1], 2)
    await office.deliver(courier)
    during, after = office.receiver.posts
    assert during.signed_by(made.secret)
    assert during.signed_by(new.secret)
    assert not after.signed_by(made.secret)
    assert after.signed_by(new.secret)


async def test_who_lost_a_bucket_writes_nothing_and_the_new_holder_repeats(office: PostOffice) -> None:
    made = await office.subscribe()
    courier = office.courier(made)
    await office.happen([1], 1)
    stolen = asyncio.Event()

    def answer(_: object) -> int:
        stolen.set()
        return 204

    office.receiver.answer = answer
    await office.database.owner().execute(
        "UPDATE leases SET epoch = epoch + 1, holder = NULL, expires_at = '-infinity' WHERE bucket = $1",
        bucket_of(eid_of(1)),
    )
    with pytest.raises(Exception, match="taken over"):
        await courier.round()
    assert await office.count("webhook_places") == 0
    await office.leasing.refresh()
    await office.deliver(courier)
    assert len({post.ident for post in office.receiver.posts}) == 1
    assert len(office.receiver.posts) == 2


async def test_who_holds_no_bucket_delivers_nothing(office: PostOffice) -> None:
    made = await office.subscribe()
    idle = msgspec.structs.replace(office.joined, leasing=Leasing(office.worker, uuid4()))
    await office.happen([1], 1)
    courier = office.courier(made)
    courier._joined = idle
    await office.deliver(courier)
    assert office.receiver.posts == []


async def test_a_replay_in_the_middle_of_a_round_is_not_forgotten(office: PostOffice) -> None:
    made = await office.subscribe()
    courier = office.courier(made)
    since = now()
    await office.happen([1], 1)
    await office.webhooks.replay(caller_of(), made.webhook.id, since)
    await courier.round()
    await office.webhooks.replay(caller_of(), made.webhook.id, since)
    await office.deliver(courier)
    assert len(office.receiver.posts) == 2


@pytest.mark.parametrize("many", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_none_is_lost_and_each_cards_order_kept_with_a_receiver_that_does_it_all(
    office: PostOffice, many: int
) -> None:
    """Dead at first, then slow, redirecting, answering 500 and closing early, a tenth of the time each."""
    made = await office.subscribe()
    cards, office.receiver.answer = many // 10, lambda _: "close"
    faults = iter(range(10**9))

    moods: dict[int, int | str] = {3: "close", 11: 500, 17: "redirect", 23: "half", 29: 503, 31: "slow"}

    def moody(_: object) -> int | str:
        return moods.get(next(faults) % 83, 204)

    rules = DeliveryRules(
        parallel=32, retries=(timedelta(milliseconds=30),) * 1000, interval=0.02, pauses=(0.02, 0.05, 0.1)
    )
    started = asyncio.get_running_loop().time()
    async with office.at_work(rules):
        for n in range(10):
            await office.happen(range(cards), n)
            if n == 2:
                await asyncio.sleep(0.3)
                office.receiver.answer = moody
        while len(office.receiver.idents) < many:  # noqa: ASYNC110 - the receiver has no event
            await asyncio.sleep(0.2)
    took = asyncio.get_running_loop().time() - started
    subjects = office.receiver.subjects()
    assert len(subjects) == cards
    assert set(map(tuple, subjects.values())) == {tuple(range(10))}
    assert await office.count("webhook_dead_letters") == 0
    assert (await office.row(made))["enabled"]
    print(f"{many} events, {len(office.receiver.posts)} posts, {took:.1f} s, {many / took:.0f}/s")  # noqa: T201 - the run's figures


def test_the_refusal_of_a_stale_round_may_be_tried_again() -> None:
    assert Replaced("x").code == "webhook-replaced"
