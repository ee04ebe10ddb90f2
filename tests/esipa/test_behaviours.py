"""Devices that behave oddly, on brainpool cards under a P-256 eIM: at the end both sides know the same of each card."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from eim.domain.euicc import SignatureCoding, Speaks
from eim.domain.step import Enable, SetFallbackAttribute
from eim.sim.behaviour import AfterDeath, Carrier, Connections, Naming, Notifications, Reporting
from eim.sim.der import bits, tlv
from eim.sim.euicc import Terminal
from eim.sim.fleet import Card
from eim.sim.journal import check
from eim.sim.pki import Pki
from eim.sim.switches import NotificationForm, ResultShape, TagLists, UnsignedErrors
from tests.cluster import Cluster
from tests.esipa.grounds import QUICK, Device, change, opened
from tests.esipa.server import EIM_ID

pytestmark = pytest.mark.xdist_group("behaviours")  # all come from one run

SWITCHED: Final = {"A": "disabled", "B": "enabled"}
AS_BEFORE: Final = {"A": "enabled", "B": "disabled"}
_VISITS: Final = 4  # after the order; most need one


class End(msgspec.Struct):
    """Both sides, after a device had its way."""

    state: str
    reason: str | None
    believed: Mapping[str, str]
    truth: Mapping[str, str]
    kept: int  # results that the card still holds


def truth_of(device: Device) -> Mapping[str, str]:
    names = {iccid: name for name, iccid in device.profiles.items()}
    return {names[p.label]: "enabled" if p.enabled else "disabled" for p in device.card.state.profiles}


async def end_of(device: Device, operation: Mapping[str, object]) -> End:
    ended = operation["outcome"]
    reason = str(ended["reason"]) if isinstance(ended, dict) else None
    believed = await device.believed()
    return End(str(operation["state"]), reason, believed, truth_of(device), len(device.card.results))


async def switch(device: Device, *, rollback: bool = False) -> End:
    """Order the other profile and let the device call until that has ended."""
    operation = await device.order(Enable(device.made.profile_b, rollback))
    shown: Mapping[str, object] = {}
    for _ in range(_VISITS):
        await device.visit()
        shown = await device.grounds.get(f"/v1/operations/{operation}")
        if shown["state"] in ("done", "failed"):
            break
    return await end_of(device, shown)


def with_habits(**habits: object) -> Callable[[Device], Awaitable[End]]:
    async def go(device: Device) -> End:
        device.ipa.behaviour = msgspec.structs.replace(QUICK, **habits)
        return await switch(device)

    return go


def switched_card(**switches: object) -> Callable[[Card], None]:
    def prepare(card: Card) -> None:
        card.euicc.switches = msgspec.structs.replace(card.euicc.switches, **switches)

    return prepare


async def _dies(device: Device, after: AfterDeath) -> End:
    device.ipa.behaviour = msgspec.structs.replace(QUICK, dies=1.0, after_death=after)
    operation = await device.order(Enable(device.made.profile_b, rollback=True))
    await device.visit()
    device.ipa.behaviour = msgspec.structs.replace(QUICK, after_death=after)
    await device.visit()
    await device.visit()
    return await end_of(device, await device.grounds.get(f"/v1/operations/{operation}"))


async def _without_a_network(device: Device) -> End:
    device.ipa.behaviour = msgspec.structs.replace(QUICK, cannot_attach=frozenset({device.made.profile_b}))
    return await switch(device, rollback=True)


async def _ahead(device: Device) -> End:
    """What it refuses it has not done, and the next order is above its counter."""
    device.card.set_counter(EIM_ID, 300)
    refused = await switch(device)
    assert (refused.state, refused.reason, refused.truth) == ("failed", "notExecuted", AS_BEFORE)
    return await switch(device)


async def _as_another(device: Device) -> End:
    """First another device takes its package and executes it on the wrong card."""
    stranger = device.grounds.device(len(device.grounds.cards) - 1)
    stranger.ipa.behaviour = msgspec.structs.replace(QUICK, polls_as=device.card.eid, polls=2)
    operation = await device.order(Enable(device.made.profile_b))
    await stranger.visit()
    assert truth_of(stranger) == AS_BEFORE
    await device.visit()
    return await end_of(device, await device.grounds.get(f"/v1/operations/{operation}"))


async def _fallen_back(device: Device) -> End:
    shown = await device.do(SetFallbackAttribute(device.made.profile_b))
    assert device.card.fall_back() == 0
    await device.visit()
    return await end_of(device, shown)


async def _back_again(device: Device) -> End:
    shown = await device.do(SetFallbackAttribute(device.made.profile_b))
    assert device.card.fall_back() == 0
    await device.visit()
    assert device.card.return_from_fallback() == 0
    await device.visit()
    return await end_of(device, shown)


async def _moved(device: Device) -> End:
    device.card.move_to(Terminal(bytes.fromhex("35123456")))
    return await switch(device)


async def _profiles_reset(device: Device) -> End:
    shown = await device.do(Enable(device.made.profile_b))
    change(device.card, device.made.profile_a, profile_class=0)
    device.card.memory_reset(tlv(0xBF64, bits(0x82, 1, 3)))  # test profiles only
    await device.visit()
    return await end_of(device, shown)


def _plain(card: Card) -> None:
    """A card as it is."""


class Way(msgspec.Struct, frozen=True):
    """One behaviour, and where it leads."""

    go: Callable[[Device], Awaitable[End]]
    prepare: Callable[[Card], None] = _plain
    state: str = "done"
    reason: str = "ok"
    truth: Mapping[str, str] = msgspec.field(default_factory=lambda: SWITCHED)
    kept: int = 0  # results that the card still holds


def _may_fall_back(card: Card) -> None:
    change(card.euicc, card.profile_b, fallback_allowed=True)


WAYS: Final[Mapping[str, Way]] = {
    "the result comes with the next visit": Way(with_habits(reporting=Reporting.NEXT_VISIT)),
    "no result ever comes by itself": Way(with_habits(reporting=Reporting.NEVER), kept=1),  # the last one
    "every result comes twice": Way(with_habits(duplicating=1.0)),
    "every second exchange is cut": Way(with_habits(lossy=0.5, tries=40)),
    "a connection a request": Way(with_habits(connections=Connections.PER_REQUEST)),
    "results in notifications": Way(with_habits(carrier=Carrier.HANDLE_NOTIFICATION)),
    "results without a name": Way(with_habits(naming=Naming.UNNAMED)),
    "notifications are lost": Way(with_habits(notifications=Notifications.LOST)),
    "notifications come alone": Way(with_habits(notifications=Notifications.SEPARATE)),
    "compact notifications": Way(switch, switched_card(notifications=NotificationForm.COMPACT)),
    "bare results signed in DER": Way(switch, switched_card(shape=ResultShape.BARE, coding=SignatureCoding.DER)),
    "v1.0.1, strict about tags": Way(switch, switched_card(speaks=Speaks.V1_0_1, tag_lists=TagLists.STRICT)),
    "v1.3, unsigned errors with the token": Way(
        switch, switched_card(speaks=Speaks.V1_3, unsigned=UnsignedErrors.WITH_TOKEN)
    ),
    "power is lost, and it reports": Way(lambda device: _dies(device, AfterDeath.REPORT)),
    "power is lost, and it goes back": Way(
        lambda device: _dies(device, AfterDeath.ROLL_BACK), _plain, "failed", "rolledBack", AS_BEFORE
    ),
    "no network takes the new profile": Way(_without_a_network, _plain, "failed", "rolledBack", AS_BEFORE),
    "its counter is ahead": Way(_ahead),
    "another device polls for it": Way(_as_another),
    "it fell back": Way(_fallen_back, _may_fall_back),
    "it fell back and returned": Way(_back_again, _may_fall_back, truth=AS_BEFORE),
    "it is in another device": Way(_moved),
    "its test profiles were deleted": Way(_profiles_reset, truth={"B": "enabled"}),
}


async def _run(postgres: Cluster, folder: Path) -> dict[str, End | Exception]:
    names = list(WAYS)
    prepared = iter(WAYS.values())

    def ready(card: Card) -> None:
        way = next(prepared, None)
        if way is not None:
            way.prepare(card)

    async with opened(postgres, folder, len(names) + 1, ready=ready, pki=Pki.new(ec.BrainpoolP256R1())) as grounds:

        async def one(at: int) -> End | Exception:
            try:
                return await WAYS[names[at]].go(grounds.device(at))
            except Exception as error:  # noqa: BLE001 - the test of its own says it
                return error

        ends = await asyncio.gather(*(one(at) for at in range(len(names))))
        report = check(grounds.journal.entries)
        assert report.sound, report
    return dict(zip(names, ends, strict=True))


@pytest.fixture(scope="module")
def ends(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, End | Exception]:
    return asyncio.run(_run(postgres, tmp_path_factory.mktemp("behaviours")))


@pytest.mark.parametrize("name", WAYS)
def test_whatever_a_device_does_both_sides_end_in_agreement(ends: Mapping[str, End | Exception], name: str) -> None:
    way, end = WAYS[name], ends[name]
    if isinstance(end, Exception):
        raise end
    assert (end.state, end.reason) == (way.state, way.reason)
    assert end.believed == end.truth == way.truth
    assert end.kept == way.kept, "the rest was acknowledged"
