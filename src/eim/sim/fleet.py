"""Many simulated devices in one process: made alike, faulty in the shares asked for, calling when they like."""

import asyncio
import csv
import io
import random
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

import msgspec

from eim.asn1.sgp32 import AddInitialEimRequest, EimConfigurationData, decode
from eim.domain.ids import Eid, Iccid, format_eid, format_iccid
from eim.errors import BadConfiguration
from eim.sim.behaviour import FOR_EVER, Behaviour
from eim.sim.der import whole
from eim.sim.euicc import VirtualEuicc
from eim.sim.https import Line
from eim.sim.ipa import Counts, Eim, Ended, Ipa
from eim.sim.journal import Journal
from eim.sim.pki import EIN, Pki, eids
from eim.sim.profiles import Profile, aid, make_iccid
from eim.sim.settings import Subject, Told
from eim.sim.switches import STANDARD, Switches

CARRIER_A: Final = "Carrier A"
CARRIER_B: Final = "Carrier B"
_ISSUER_A: Final = "8999001"
_ISSUER_B: Final = "8999002"
_DRAIN: Final = 5.0  # seconds that visits may go on after the fleet was told to stop


class Kind(Enum):
    """What a device was made to be."""

    NORMAL = "normal"
    CANNOT_ATTACH = "cannotAttach"  # no network takes its profile B
    SLEEPER = "sleeper"  # silent for ever after its first work


class Make(msgspec.Struct, frozen=True):
    """How a fleet is made. The same values make the same fleet, keys apart."""

    seed: int = 0
    cannot_attach: float = 0.04  # share of the devices, rounded to whole ones
    sleepers: float = 0.01
    behaviour: Behaviour = Behaviour()  # of all; the shares above add to it
    switches: Sequence[Switches] = (STANDARD,)  # dealt out in turn
    notify: str | None = "smdp.example.com"  # where profile changes are told; None: cards sign no notifications
    prefix: str = EIN  # the first digits of each EID; the card maker's certificate permits no other than its own


class Pace(msgspec.Struct, frozen=True):
    """When devices call, in seconds."""

    ramp: float = 10.0  # the first visits spread over this time
    interval: float = 15.0  # from the end of one visit to the next: between half of it and one and a half


STANDARD_MAKE: Final = Make()
STANDARD_PACE: Final = Pace()


class Snapshot(msgspec.Struct, frozen=True):
    """A fleet at one moment."""

    devices: int
    on_a: int  # profile A is active
    on_b: int
    asleep: int
    visits: int
    polls: int
    packages: int
    data_requests: int
    results: int
    rollbacks: int
    retries: int
    duplicates: int
    deaths: int
    errors: int


class Card(msgspec.Struct, frozen=True):
    """One device's card and what the device was made to be."""

    euicc: VirtualEuicc
    kind: Kind
    profile_a: Iccid
    profile_b: Iccid


class Fleet:
    """`devices` cards with profile A enabled and B disabled. First `associate`, then `run`."""

    def __init__(self, pki: Pki, devices: int, journal: Journal, make: Make = STANDARD_MAKE) -> None:
        if devices < 1:
            raise BadConfiguration("a fleet has at least one device")
        self.pki = pki
        self.make = make
        self.journal = journal
        self.counts = Counts()
        self.asleep = 0
        self._devices: dict[Eid, Ipa] = {}  # while they run
        self._habits: dict[Eid, Behaviour] = {}  # of those who were told something
        made = zip(eids(make.prefix, devices), _kinds(devices, make), strict=True)
        self.cards = tuple(self._card(eid, kind, number) for number, (eid, kind) in enumerate(made))
        self._config: EimConfigurationData | None = None

    @property
    def server_name(self) -> str | None:
        """The host name that the eIM configuration gives, without a port; None before `associate` or without one."""
        config = self._config
        if config is None:
            return None
        name = config.fqdn or (config.eim_id if config.id_type == 2 else None)
        return name.partition(":")[0] if name else None

    def associate(self, bf57: bytes) -> None:
        """Load the eIM's AddInitialEimRequest into every card, as its factory would.

        Raises Malformed, and BadConfiguration when the cards refuse it.
        """
        (config,) = decode(AddInitialEimRequest, bf57).configs
        for card in self.cards:
            answer = whole(card.euicc.add_initial_eim(bf57), 0xBF57).value
            if answer[0] != 0xA0:
                raise BadConfiguration(f"the cards refuse this eIM configuration with code {answer[-1]}")
        self._config = config

    def tell(self, told: Told) -> list[tuple[Eid, int]]:
        """Tell the devices that are meant; the code with which each card answered, 0 for "done".

        Raises BadConfiguration when nobody is meant, or the value is none.
        """
        meant = [card for number, card in enumerate(self.cards, 1) if told.means(number, card.euicc)]
        if not meant:
            raise BadConfiguration(f"no device is called {told.who!r}: write *, a number from 1, or an EID")
        codes = []
        for card in meant:
            euicc, profiles = card.euicc, {"A": card.profile_a, "B": card.profile_b}
            done = told.apply(Subject(euicc, profiles, self._habits_of(card)))
            self._habits[euicc.eid] = done.habits
            if euicc.eid in self._devices:
                self._devices[euicc.eid].behaviour = done.habits
            codes.append((euicc.eid, done.code))
        return codes

    def cards_csv(self) -> str:
        """All cards for onboarding: a heading, then eid and label."""
        return _csv(("eid", "label"), ((format_eid(card.euicc.eid), "simulated") for card in self.cards))

    def switch_csv(self) -> str:
        """What to order to switch all to B: a heading, then eid and iccid."""
        rows = ((format_eid(card.euicc.eid), format_iccid(card.profile_b)) for card in self.cards)
        return _csv(("eid", "iccid"), rows)

    def snapshot(self) -> Snapshot:
        """Where the cards stand and what the devices did; some microseconds a device."""
        enabled = [(card.euicc.enabled, card) for card in self.cards]
        done = self.counts
        return Snapshot(
            devices=len(self.cards),
            on_a=sum(iccid == card.profile_a for iccid, card in enabled),
            on_b=sum(iccid == card.profile_b for iccid, card in enabled),
            asleep=self.asleep,
            visits=done.visits,
            polls=done.polls,
            packages=done.packages,
            data_requests=done.data_requests,
            results=done.results,
            rollbacks=done.rollbacks,
            retries=done.retries,
            duplicates=done.duplicates,
            deaths=done.deaths,
            errors=done.errors,
        )

    async def run(self, line: Line, stop: asyncio.Event, pace: Pace = STANDARD_PACE) -> None:
        """Let all devices live until `stop` is set, or only sleepers are left.

        Visits under way then have five seconds to end; the cards stand where they stand, and may be run again.
        """
        if self._config is None:
            raise BadConfiguration("the cards know no eIM: associate the fleet with its configuration first")
        eim = Eim(self._config.eim_id, line, self.counts)
        lives = [
            asyncio.create_task(self._live(self._device(card, number, eim), stop, pace))
            for number, card in enumerate(self.cards)
        ]
        try:
            await _until_stopped(lives, stop)
        finally:
            for life in lives:
                life.cancel()
            ended = await asyncio.gather(*lives, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    def _card(self, eid: Eid, kind: Kind, number: int) -> Card:
        notify, dealt = self.make.notify, self.make.switches
        profile_a = Profile(make_iccid(_ISSUER_A, number), aid(0), True, CARRIER_A, "A", notify=notify)
        profile_b = Profile(make_iccid(_ISSUER_B, number), aid(1), False, CARRIER_B, "B", notify=notify)
        credentials, switches = self.pki.credentials(eid), dealt[number % len(dealt)]
        euicc = VirtualEuicc(credentials, (profile_a, profile_b), self.journal, switches)
        return Card(euicc, kind, profile_a.iccid, profile_b.iccid)

    def _device(self, card: Card, number: int, eim: Eim) -> Ipa:
        device = Ipa(card.euicc, self._habits_of(card), eim, _chance(f"{self.make.seed} device {number}"))
        self._devices[card.euicc.eid] = device
        return device

    def _habits_of(self, card: Card) -> Behaviour:
        habits = self._habits.get(card.euicc.eid)
        if habits is not None:
            return habits
        habits = self.make.behaviour
        if card.kind is Kind.CANNOT_ATTACH:
            habits = msgspec.structs.replace(habits, cannot_attach=frozenset({card.profile_b}))
        if card.kind is Kind.SLEEPER:
            habits = msgspec.structs.replace(habits, sleepy=FOR_EVER)
        return habits

    async def _live(self, device: Ipa, stop: asyncio.Event, pace: Pace) -> None:
        chance = _chance(f"{self.make.seed} life {device.card.eid.hex()}")
        pause = chance.uniform(0, pace.ramp)
        while not await _stopped_within(stop, pause):
            before = device.packages
            ended = await device.visit()
            pause = pace.interval * chance.uniform(0.5, 1.5)
            if ended is Ended.DIED:
                pause = device.behaviour.reboot
            elif device.behaviour.sleepy is not None and device.packages > before and not device.card.results:
                self.asleep += 1
                if device.behaviour.sleepy == FOR_EVER:
                    return
                pause = device.behaviour.sleepy
                await _stopped_within(stop, pause)
                self.asleep -= 1
                pause = 0.0


def _csv(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return lines.getvalue()


async def _until_stopped(lives: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    stopped = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(asyncio.wait(lives, return_when=asyncio.FIRST_EXCEPTION))
    try:
        await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            await asyncio.wait((ended,), timeout=_DRAIN)
    finally:
        stopped.cancel()
        ended.cancel()


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait `seconds`, or less when `stop` is set: then True."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return stop.is_set()
    return True


def _kinds(devices: int, make: Make) -> list[Kind]:
    """Exactly the shares asked for, drawn by the seed; nobody is two kinds at once."""
    kinds = [Kind.NORMAL] * devices
    cannot_attach, sleepers = round(devices * make.cannot_attach), round(devices * make.sleepers)
    if cannot_attach + sleepers > devices:
        raise BadConfiguration("the shares of sleeping devices and of those that can't attach exceed the whole fleet")
    drawn = _chance(f"{make.seed} kinds").sample(range(devices), cannot_attach + sleepers)
    for at, number in enumerate(drawn):
        kinds[number] = Kind.CANNOT_ATTACH if at < cannot_attach else Kind.SLEEPER
    return kinds


def _chance(seed: str) -> random.Random:
    """The dice of one part of the fleet: repeatable, so that a run can be had again."""
    return random.Random(seed)  # noqa: S311 - it decides when devices call and fail, and guards nothing
