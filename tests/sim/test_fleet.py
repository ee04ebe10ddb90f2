import asyncio
import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from eim.domain.euicc import Speaks
from eim.domain.ids import parse_eid, parse_iccid
from eim.errors import BadConfiguration
from eim.sim.behaviour import Backoff, Behaviour
from eim.sim.der import integer, read, text, tlv, whole
from eim.sim.fleet import Fleet, Kind, Make, Pace
from eim.sim.https import Line
from eim.sim.journal import check
from eim.sim.pki import Pki
from eim.sim.switches import Switches
from tests.sim.hand import HandEim, enable_or_return, new_journal
from tests.sim.server import NOTHING, HandServer, serving

QUICK = Pace(ramp=0.05, interval=0.05)
HABITS = Behaviour(backoff=Backoff(0.001, 0.01), attach_pause=0.001)


class SwitchingServer(HandServer):
    """Gives each card the same one package, enable B, until a result of that card is in."""

    def __init__(self, eim: HandEim, fleet: Fleet) -> None:
        super().__init__()
        self._packages: dict[bytes, bytes] = {
            card.euicc.eid: eim.package(card.euicc.eid, 1, enable_or_return(card.profile_b)) for card in fleet.cards
        }

    @property
    def waiting(self) -> int:
        return len(self._packages)

    def answer(self, body: bytes) -> tuple[int, bytes]:
        eid = next(read(next(read(body)).value)).value
        if body[:2] == b"\xbf\x4f":
            package = self._packages.get(eid)
            return 200, NOTHING if package is None else tlv(0xBF4F, package)
        self._packages.pop(eid, None)
        return super().answer(body)


def test_the_shares_are_exact_and_the_seed_decides_who() -> None:
    pki = Pki.new()
    one, again, other = (Fleet(pki, 100, new_journal(), Make(seed=seed)) for seed in (1, 1, 2))
    kinds = [[card.kind for card in fleet.cards] for fleet in (one, again, other)]
    assert kinds[0] == kinds[1] != kinds[2]
    for drawn in kinds:
        assert drawn.count(Kind.CANNOT_ATTACH) == 4
        assert drawn.count(Kind.SLEEPER) == 1


def test_shares_beyond_the_whole_fleet_are_refused() -> None:
    with pytest.raises(BadConfiguration, match="exceed the whole fleet"):
        Fleet(Pki.new(), 10, new_journal(), Make(cannot_attach=0.8, sleepers=0.3))


def test_cards_come_with_a_enabled_and_are_listed_for_onboarding() -> None:
    fleet = Fleet(Pki.new(), 3, new_journal())
    assert fleet.snapshot().on_a == 3
    cards, switch = (list(csv.DictReader(text.splitlines())) for text in (fleet.cards_csv(), fleet.switch_csv()))
    for rows in (cards, switch):
        assert [parse_eid(row["eid"]) for row in rows] == [card.euicc.eid for card in fleet.cards]
    assert [parse_iccid(row["iccid"]) for row in switch] == [card.profile_b for card in fleet.cards]


def test_the_server_s_name_comes_from_the_configuration_without_its_port() -> None:
    fleet = Fleet(Pki.new(), 1, new_journal())
    fleet.associate(HandEim.new().configuration())
    assert fleet.server_name == "eim.example.com"
    named = Fleet(Pki.new(), 1, new_journal())
    (listed,) = read(whole(HandEim.new().configuration(), 0xBF57).value)
    (config,) = read(listed.value)
    head, rest = config.value[:17], config.value[17:]
    named.associate(tlv(0xBF57, tlv(0xA0, tlv(0x30, head, text(0x81, "host.example.com:8443"), rest))))
    assert named.server_name == "host.example.com"


def test_a_configuration_the_cards_refuse_is_said_with_its_code() -> None:
    fleet = Fleet(Pki.new(), 1, new_journal())
    with pytest.raises(BadConfiguration, match="code 5"):
        fleet.associate(HandEim.new().configuration(token=integer(0x84, 7)))


async def test_a_fleet_without_an_eim_does_not_run(tmp_path: Path) -> None:
    async with serving(tmp_path, HandServer()) as line:
        with pytest.raises(BadConfiguration, match="associate the fleet"):
            await Fleet(Pki.new(), 1, new_journal()).run(line, asyncio.Event())


async def _wait_for(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 - the server under test has no event to wait for
            await asyncio.sleep(0.02)


async def _run_until(fleet: Fleet, line: Line, done: Callable[[], bool]) -> None:
    stop = asyncio.Event()
    run = asyncio.create_task(fleet.run(line, stop, QUICK))
    await _wait_for(lambda: done() or run.done())
    stop.set()
    await run


async def test_a_fleet_switches_and_its_sums_agree_with_the_journal(tmp_path: Path) -> None:
    eim, journal = HandEim.new(), new_journal()
    mixed = tuple(Switches(speaks=speaks) for speaks in (Speaks.V1_1, Speaks.V1_2, Speaks.V1_3))
    fleet = Fleet(Pki.new(), 50, journal, Make(cannot_attach=0.1, sleepers=0.02, behaviour=HABITS, switches=mixed))
    fleet.associate(eim.configuration())
    server = SwitchingServer(eim, fleet)
    async with serving(tmp_path, server) as line:
        await _run_until(fleet, line, lambda: server.waiting == 0)
    report, now = check(journal.entries), fleet.snapshot()
    assert report.sound
    assert (report.cards, report.executed, report.rolled_back) == (50, 50, 5)
    assert (now.on_a, now.on_b, now.rollbacks, now.asleep) == (5, 45, 5, 1)
    back = {card.euicc.eid.hex() for card in fleet.cards if card.kind is Kind.CANNOT_ATTACH}
    assert report.taken_back == back


async def test_a_fleet_of_sleepers_comes_to_an_end_by_itself(tmp_path: Path) -> None:
    eim = HandEim.new()
    fleet = Fleet(Pki.new(), 5, new_journal(), Make(cannot_attach=0, sleepers=1, behaviour=HABITS))
    fleet.associate(eim.configuration())
    async with serving(tmp_path, SwitchingServer(eim, fleet)) as line, asyncio.timeout(10):
        await fleet.run(line, asyncio.Event(), QUICK)
    assert fleet.snapshot().asleep == 5
    assert fleet.snapshot().visits == 5


async def test_a_fleet_lives_through_a_server_that_is_away_for_a_moment(tmp_path: Path) -> None:
    eim, journal = HandEim.new(), new_journal()
    fleet = Fleet(Pki.new(), 10, journal, Make(cannot_attach=0, sleepers=0, behaviour=HABITS))
    fleet.associate(eim.configuration())
    server, stop = SwitchingServer(eim, fleet), asyncio.Event()
    async with serving(tmp_path, server) as line:
        port = line._server.port
    run = asyncio.create_task(fleet.run(line, stop, QUICK))
    await asyncio.sleep(0.2)
    assert fleet.counts.retries > 0
    async with serving(tmp_path, server, port):
        await _wait_for(lambda: server.waiting == 0)
        stop.set()
        await run
    assert check(journal.entries).sound
    assert fleet.snapshot().on_b == 10
