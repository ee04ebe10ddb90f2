import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from eim.domain.euicc import Speaks
from eim.sim.behaviour import AfterDeath, Backoff, Behaviour, Carrier, Connections, Naming, Notifications
from eim.sim.der import read, tlv, whole
from eim.sim.euicc import VirtualEuicc
from eim.sim.https import Line, NoAnswer, Server
from eim.sim.ipa import Counts, Eim, Ended, Ipa
from eim.sim.journal import Journal, Verdict, check
from eim.sim.switches import STANDARD, Switches
from tests.sim.hand import EIM_ID, LIST, A, B, HandEim, enable, enable_or_return, new_card, new_journal, open_result
from tests.sim.server import HandServer, Mishap, serving

QUICK = Behaviour(backoff=Backoff(0.001, 0.002), tries=5, attach_pause=0.001)


class Scene(msgspec.Struct, frozen=True):
    """One server and what it takes to put devices before it."""

    server: HandServer
    line: Line
    eim: HandEim
    journal: Journal
    counts: Counts

    def device(self, behaviour: Behaviour = QUICK, switches: Switches = STANDARD, seed: int = 1) -> Ipa:
        card = new_card(self.eim, switches, journal=self.journal, number=seed)
        return Ipa(card, behaviour, Eim(EIM_ID, self.line, self.counts), random.Random(seed))

    def order(self, card: VirtualEuicc, *operations: bytes) -> None:
        """Each operation in a package of its own."""
        self.server.out += [
            self.eim.package(card.eid, number, operation, transaction=bytes([number]))
            for number, operation in enumerate(operations, 1)
        ]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    server = HandServer()
    async with serving(tmp_path, server) as line:
        yield Scene(server, line, HandEim.new(), new_journal(), Counts())


def quick(behaviour: Behaviour) -> Behaviour:
    return msgspec.structs.replace(behaviour, backoff=QUICK.backoff, tries=QUICK.tries, attach_pause=0.001)


async def test_a_visit_works_until_the_server_has_nothing_on_one_connection(scene: Scene) -> None:
    device = scene.device()
    scene.order(device.card, LIST, LIST)
    assert await device.visit() is Ended.NOTHING
    assert (scene.server.polls, len(scene.server.provided), scene.server.connections) == (3, 2, 1)
    assert device.card.results == ()


async def test_a_device_may_connect_for_each_request(scene: Scene) -> None:
    device = scene.device(quick(Behaviour(connections=Connections.PER_REQUEST)))
    scene.order(device.card, LIST)
    assert await device.visit() is Ended.NOTHING
    assert scene.server.connections == 3


async def test_a_switch_of_profile_costs_the_connection(scene: Scene) -> None:
    device = scene.device()
    scene.order(device.card, enable(B))
    assert await device.visit() is Ended.NOTHING
    assert scene.server.connections == 2
    assert device.card.notifications == ()


async def test_a_device_stops_polling_after_its_cap(scene: Scene) -> None:
    device = scene.device()
    scene.order(device.card, *[LIST] * 20)
    assert await device.visit() is Ended.CAPPED
    assert scene.server.polls == 16


async def test_a_lost_answer_to_a_poll_is_asked_for_again_and_executed_once(scene: Scene) -> None:
    scene.server.strikes = lambda body: body[:2] == b"\xbf\x4f"
    scene.server.mishaps.append(Mishap.CUT)
    device = scene.device()
    scene.order(device.card, enable(B))
    assert await device.visit() is Ended.NOTHING
    assert scene.server.given[0] == scene.server.given[1]
    report = check(scene.journal.entries)
    assert (report.executed, report.received, report.sound) == (1, 1, True)


async def test_a_result_whose_answer_was_lost_is_brought_again(scene: Scene) -> None:
    scene.server.mishaps += [Mishap.CUT, Mishap.UNAVAILABLE]
    device = scene.device()
    scene.order(device.card, enable_or_return(B))
    assert await device.visit() is Ended.NOTHING
    assert len(scene.server.provided) == 2
    assert scene.server.provided[0] == scene.server.provided[1]
    assert device.card.enabled == B
    assert scene.counts.retries == 2


async def test_a_result_brought_twice_is_the_same_octets(scene: Scene) -> None:
    connections = set[int]()
    for seed in range(6):
        scene.server.provided.clear()
        before = scene.server.connections
        device = scene.device(quick(Behaviour(duplicating=1.0)), seed=seed)
        scene.order(device.card, LIST)
        assert await device.visit() is Ended.NOTHING
        first, second = scene.server.provided
        assert first == second
        connections.add(scene.server.connections - before)
    assert connections == {1, 2}, "some one after the other, some at once"


async def test_a_device_that_cannot_attach_takes_the_switch_back_and_reports_over_the_old_profile(scene: Scene) -> None:
    device = scene.device(quick(Behaviour(cannot_attach=frozenset({B}))))
    scene.order(device.card, enable_or_return(B))
    assert await device.visit() is Ended.NOTHING
    assert device.card.enabled == A
    (body,) = scene.server.provided
    payload = list(read(whole(body, 0xBF50).value))[1]
    assert open_result(payload.raw).results[-1] == bytes.fromhex("8C0100")
    assert scene.counts.rollbacks == 1


async def test_without_the_rollback_flag_such_a_device_is_gone(scene: Scene) -> None:
    device = scene.device(quick(Behaviour(cannot_attach=frozenset({B}))))
    scene.order(device.card, enable(B))
    assert await device.visit() is Ended.NO_ANSWER
    assert await device.visit() is Ended.NO_ANSWER
    assert device.card.enabled == B
    assert scene.server.provided == []


async def test_a_device_rolls_back_when_the_server_stays_away(scene: Scene) -> None:
    scene.server.mishaps += [Mishap.UNAVAILABLE] * QUICK.tries
    device = scene.device()
    scene.order(device.card, enable_or_return(B))
    assert await device.visit() is Ended.NOTHING
    assert device.card.enabled == A
    assert check(scene.journal.entries).rolled_back == 1


async def test_a_refused_result_is_not_tried_again_in_the_same_visit(scene: Scene) -> None:
    scene.server.mishaps.append(Mishap.REFUSE)
    device = scene.device()
    scene.order(device.card, LIST)
    assert await device.visit() is Ended.NO_ANSWER
    assert len(scene.server.provided) == 1
    assert len(device.card.results) == 1


@pytest.mark.parametrize(("after", "enabled"), [(AfterDeath.REPORT, B), (AfterDeath.ROLL_BACK, A)])
async def test_a_device_that_died_before_its_report_brings_it_when_it_is_back(
    scene: Scene, after: AfterDeath, enabled: bytes
) -> None:
    device = scene.device(quick(Behaviour(dies=1.0, after_death=after)))
    scene.order(device.card, enable_or_return(B))
    assert await device.visit() is Ended.DIED
    assert scene.server.provided == []
    assert await device.visit() is Ended.NOTHING
    assert device.card.enabled == enabled
    assert len(scene.server.provided) == 1
    assert check(scene.journal.entries).executed == 1


async def test_a_result_that_a_rollback_discarded_is_never_brought(scene: Scene) -> None:
    device = scene.device()
    card = device.card
    card.load_euicc_package(scene.eim.package(card.eid, 1, LIST))
    card.load_euicc_package(scene.eim.package(card.eid, 2, enable_or_return(B)))
    discarded = card.results[-1].raw
    scene.server.mishaps += [Mishap.UNAVAILABLE] * QUICK.tries
    assert await device.visit() is Ended.NOTHING
    assert await device.visit() is Ended.NOTHING
    assert (card.enabled, card.results) == (A, ())
    assert len(scene.server.provided) == 2
    assert all(discarded not in body for body in scene.server.provided)


async def test_notifications_may_come_by_themselves(scene: Scene) -> None:
    device = scene.device(quick(Behaviour(notifications=Notifications.SEPARATE)))
    scene.order(device.card, enable(B))
    assert await device.visit() is Ended.NOTHING
    assert [body[:2] for body in scene.server.notified] == [b"\xbf\x3d"] * 2
    assert device.card.notifications == ()


async def test_a_result_may_come_in_a_notification_and_without_the_eid(scene: Scene) -> None:
    habits = quick(Behaviour(carrier=Carrier.HANDLE_NOTIFICATION, naming=Naming.UNNAMED))
    device = scene.device(habits)
    scene.order(device.card, LIST)
    assert await device.visit() is Ended.CAPPED, "this server takes results from ProvideEimPackageResult alone"
    (first, *_) = scene.server.notified
    (inside,) = read(whole(first, 0xBF3D).value)
    assert inside.tag == 0xBF50
    assert next(read(inside.value)).tag == 0xBF51
    assert device.card.results == ()


async def test_a_v1_0_1_device_uses_the_shapes_of_its_version(scene: Scene) -> None:
    device = scene.device(QUICK, Switches(speaks=Speaks.V1_0_1))
    scene.order(device.card, LIST)
    assert await device.visit() is Ended.NOTHING
    (body,) = scene.server.provided
    (inside,) = read(whole(body, 0xBF50).value)
    assert [found.tag for found in read(inside.value)] == [0xBF51, 0xBF2B]


async def test_a_change_of_state_is_said_once(scene: Scene) -> None:
    device = scene.device()
    device.notify_state_change(1)
    assert await device.visit() is Ended.NOTHING
    assert await device.visit() is Ended.NOTHING
    assert [body[-5:] for body in scene.server.polled] == [bytes.fromhex("8000810101"), device.card.eid[-5:]]


async def test_a_data_request_is_answered(scene: Scene) -> None:
    device = scene.device()
    scene.server.out.append(bytes.fromhex("BF52 06 5C0184 830107"))
    assert await device.visit() is Ended.NOTHING
    (body,) = scene.server.provided
    named, answer = read(whole(body, 0xBF50).value)
    assert (named.tag, named.value) == (0x5A, device.card.eid)
    assert answer.raw == bytes.fromhex("BF5208A006840101870107")


async def test_octets_that_are_no_package_are_reported_as_such(scene: Scene) -> None:
    device = scene.device()
    scene.server.out += [tlv(0xBF51, tlv(0x30)), tlv(0xBF54, tlv(0x82, b"\x09"))]
    assert await device.visit() is Ended.NOTHING
    refused, trigger = (list(read(whole(body, 0xBF50).value))[1].raw for body in scene.server.provided)
    assert refused == bytes.fromhex("A003020101")
    assert trigger == bytes.fromhex("BF54 08 820109 3003 80017F")
    assert check(scene.journal.entries).verdicts == {Verdict.MALFORMED: 1}


async def test_lossy_duplicating_slow_and_dying_devices_lose_nothing(scene: Scene) -> None:
    habits = quick(Behaviour(lossy=0.3, duplicating=0.3, delay=0.002, dies=0.2))
    for seed in range(10):
        device = scene.device(msgspec.structs.replace(habits, tries=50), seed=seed)
        scene.order(device.card, LIST, enable_or_return(B), LIST)
        while await device.visit() is not Ended.NOTHING or scene.server.out:
            pass
        assert device.card.enabled == B
        assert device.card.results == ()
    report = check(scene.journal.entries)
    assert (report.cards, report.executed, report.rolled_back) == (10, 30, 0)
    assert report.sound
    assert min(scene.counts.retries, scene.counts.duplicates, scene.counts.deaths) > 0


async def test_a_server_with_another_certificate_gets_nothing(scene: Scene, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with serving(other, HandServer()) as elsewhere:
        foreign = elsewhere._server
        trusted = scene.line._server
        wrong_ca = Line(Server(trusted.host, trusted.port, trusted.name, foreign.context), timeout=5)
        wrong_name = Line(Server(trusted.host, trusted.port, "else.example.com", trusted.context), timeout=5)
        for line in (wrong_ca, wrong_name):
            with pytest.raises(NoAnswer):
                await line.connect()
    assert scene.server.polls == 0


async def test_no_more_connections_are_open_than_allowed(scene: Scene) -> None:
    line = Line(scene.line._server, connections=1)
    first = await line.connect()
    second = asyncio.create_task(line.connect())
    await asyncio.sleep(0.05)
    assert not second.done()
    first.close()
    (await second).close()
