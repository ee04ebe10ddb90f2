"""Every step of the standard, ordered, sealed, executed by cards of the four versions, and our view after it."""

from uuid import UUID

import msgspec
import pytest

from eim.asn1 import sgp32
from eim.domain.euicc import Speaks
from eim.domain.ids import Iccid, format_eid, format_iccid
from eim.domain.operation import Kind
from eim.domain.step import (
    AddEim,
    ConfigureImmediateEnable,
    DataRequest,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    Step,
    UnsetFallbackAttribute,
    UpdateEim,
    kind_of,
)
from eim.errors import InvalidLines
from eim.services.ordering import Ordering, Target, Template
from eim.services.tokens import SETUP
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import CARRIER_A, CARRIER_B, Make
from eim.sim.switches import STANDARD
from tests.database import Database
from tests.domain.steps import CONFIG
from tests.services import rig as rigs
from tests.services.rig import EIM_ID, Rig

VERSIONS = list(Speaks)
OTHER = CONFIG.eim_id


@pytest.fixture
async def rig(database: Database) -> Rig:
    """A card of each version, introduced."""
    switches = tuple(msgspec.structs.replace(STANDARD, speaks=speaks) for speaks in VERSIONS)
    made = await rigs.start(database, len(VERSIONS), Make(cannot_attach=0, sleepers=0, switches=switches))
    await made.onboard()
    for card in made.cards:
        await made.visit(card)
    return made


async def ask(rig: Rig, card: VirtualEuicc, *steps: Step, force: str | None = None) -> UUID:
    templates = tuple(map(Template, steps))
    asked = Ordering(kind_of(steps), (Target(format_eid(card.eid)),), steps=templates, force_reason=force)
    return (await rig.operations.place(SETUP, asked, None)).placed[0].operation


async def done(rig: Rig, card: VirtualEuicc, *steps: Step, force: str | None = None) -> dict[str, object]:
    """Order, visit, and how it ended."""
    operation = await ask(rig, card, *steps, force=force)
    await rig.visit(card)
    row = await rig.operation(operation)
    outcome = row["outcome"]
    assert isinstance(outcome, dict), row
    return {"state": row["state"], "reason": outcome["reason"], "steps": outcome.get("steps"), "outcome": outcome}


async def euicc(rig: Rig, card: VirtualEuicc) -> dict[str, object]:
    (row,) = await rig.rows("euiccs", card)
    return row


def iccid(card: VirtualEuicc, carrier: str) -> Iccid:
    return next(profile.iccid for profile in card.state.profiles if profile.provider == carrier)


def add(eim_id: str = OTHER) -> AddEim:
    return AddEim(sgp32.encode(msgspec.structs.replace(CONFIG, eim_id=eim_id, indirect_download=True)))


async def test_every_step_is_done_by_the_card_of_every_version_that_has_it(rig: Rig) -> None:
    for card, speaks in zip(rig.cards, VERSIONS, strict=True):
        b = iccid(card, CARRIER_B)
        assert (await euicc(rig, card))["speaks"] == speaks.value
        every: list[Step] = [
            ListProfileInfo(),
            ListProfileInfo(iccid=b),
            ListProfileInfo(profile_class=2, tags=bytes.fromhex("5A9F7099")),
            GetRat(),
            ConfigureImmediateEnable(True, "2.999.1", "smdp.example.com"),
            ConfigureImmediateEnable(),
            Enable(b, rollback=True),
            ListEim(),
            add(),
            UpdateEim(sgp32.encode(sgp32.EimConfigurationData(OTHER, fqdn="new.example.com"))),
            DeleteEim(OTHER),
            DataRequest(("associationToken", "ipaCapabilities", "defaultSmdpAddress")),
            Delete(iccid(card, CARRIER_A)),
        ]
        if speaks is not Speaks.V1_0_1:
            every += [SetDefaultDpAddress("smdp.example.com"), SetDefaultDpAddress(""), DataRequest(result_seq=1)]
        for step in every:
            ended = await done(rig, card, step)
            assert (ended["state"], ended["reason"]) == ("done", "ok"), (speaks, step, ended)


async def test_what_came_later_is_refused_when_the_version_is_known_and_fails_when_it_is_learnt(rig: Rig) -> None:
    old = rig.cards[0]
    for step in (UnsetFallbackAttribute(), SetDefaultDpAddress(""), SetFallbackAttribute(iccid(old, CARRIER_B))):
        with pytest.raises(InvalidLines) as refused:
            await ask(rig, old, step)
        assert "this card speaks 1.0.1" in refused.value.lines[0][1]
        assert "came with 1.1" in refused.value.lines[0][1]
    await rig.database.owner().execute("UPDATE euiccs SET speaks = NULL WHERE eid = $1", old.eid)
    operation = await ask(rig, old, SetDefaultDpAddress("smdp.example.com"))
    await rig.database.owner().execute("UPDATE euiccs SET speaks = '1.0.1' WHERE eid = $1", old.eid)
    await rig.work()
    row = await rig.operation(operation)
    assert (row["state"], row["outcome"]) == ("failed", {"reason": "notInVersion"})
    kinds = [event["kind"] for event in await rig.rows("events", old)]
    assert "operation.failed" in kinds


async def test_our_view_follows_each_step(rig: Rig) -> None:
    card = rig.cards[2]
    a, b = iccid(card, CARRIER_A), iccid(card, CARRIER_B)
    await done(rig, card, SetDefaultDpAddress("smdp.example.com"))
    await done(rig, card, ConfigureImmediateEnable(True, None, "smdp.example.com"))
    await done(rig, card, ListEim())
    added = await done(rig, card, add())
    seen = await euicc(rig, card)
    settings = seen["settings"]
    assert isinstance(settings, dict)
    assert settings["defaultSmdpAddress"] == "smdp.example.com"
    assert settings["immediateEnable"] == {"flag": True, "smdpOid": None, "smdpAddress": "smdp.example.com"}
    assert isinstance(added["outcome"], dict)
    assert added["outcome"]["tokens"] == {OTHER: 2}
    assert [eim["eim_id"] for eim in seen["eims"]] == [EIM_ID, OTHER]  # type: ignore[attr-defined]
    await done(rig, card, DeleteEim(OTHER))
    assert [eim["eim_id"] for eim in (await euicc(rig, card))["eims"]] == [EIM_ID]  # type: ignore[attr-defined]
    switched = await done(rig, card, Enable(b))
    assert isinstance(switched["outcome"], dict)
    assert switched["outcome"]["disabled"] == format_iccid(a)
    assert await rig.enabled(card) == CARRIER_B


async def test_the_fallback_mark_moves_and_goes(rig: Rig) -> None:
    card = rig.cards[2]
    b = iccid(card, CARRIER_B)
    profiles = tuple(msgspec.structs.replace(p, fallback_allowed=True) for p in card.state.profiles)
    card.state = msgspec.structs.replace(card.state, profiles=profiles)
    with pytest.raises(InvalidLines, match="1 of 1"):
        await ask(rig, card, SetFallbackAttribute(iccid(card, CARRIER_A)))  # enabled
    assert (await done(rig, card, SetFallbackAttribute(b)))["reason"] == "ok"
    assert [p["iccid"] for p in await rig.rows("profiles", card) if p["fallback"]] == [b]
    assert (await done(rig, card, UnsetFallbackAttribute()))["reason"] == "ok"
    assert not any(p["fallback"] for p in await rig.rows("profiles", card))
    with pytest.raises(InvalidLines):
        await ask(rig, card, UnsetFallbackAttribute())
    forced = await done(rig, card, UnsetFallbackAttribute(), force="to see what it says")
    assert (forced["state"], forced["reason"]) == ("failed", "noFallbackAttribute")


async def test_several_steps_in_one_package_each_have_their_own_end(rig: Rig) -> None:
    card = rig.cards[2]
    a, b = iccid(card, CARRIER_A), iccid(card, CARRIER_B)
    ended = await done(rig, card, Disable(a), Enable(b), GetRat())
    assert [(step["step"], step["reason"]) for step in ended["steps"]] == [  # type: ignore[attr-defined]
        ("disable", "ok"),
        ("enable", "ok"),
        ("getRAT", "ok"),
    ]
    assert await rig.enabled(card) == CARRIER_B
    failed = await done(rig, card, Enable(b), Delete(a), force="the first can't be done")
    assert (failed["state"], failed["reason"]) == ("failed", "profileNotInDisabledState")
    assert [step["reason"] for step in failed["steps"]] == ["profileNotInDisabledState", "ok"]  # type: ignore[attr-defined]
    assert [p["iccid"] for p in await rig.rows("profiles", card)] == [b]


async def test_our_own_and_the_last_eim_are_not_deleted_without_a_reason_and_then_the_card_is_an_orphan(
    rig: Rig,
) -> None:
    card = rig.cards[2]
    with pytest.raises(InvalidLines) as refused:
        await ask(rig, card, DeleteEim(EIM_ID))
    assert "our own eIM" in refused.value.lines[0][1]
    ended = await done(rig, card, DeleteEim(EIM_ID), force="sold")
    assert (ended["state"], ended["reason"]) == ("done", "lastEimDeleted")
    seen = await euicc(rig, card)
    assert seen["orphaned_at"] is not None
    assert seen["eims"] == []
    assert "euicc.orphaned" in [event["kind"] for event in await rig.rows("events", card)]


async def test_a_check_tells_what_changed_without_us_and_our_view_is_the_cards(rig: Rig) -> None:
    card = rig.cards[2]
    await done(rig, card, ListEim())
    await done(rig, card, SetDefaultDpAddress("smdp.example.com"))
    state = card.state
    swapped = tuple(msgspec.structs.replace(p, enabled=not p.enabled) for p in state.profiles)
    card.state = msgspec.structs.replace(state, profiles=swapped, default_smdp="elsewhere.example.com")
    asked = Ordering(Kind.CHECK, (Target(format_eid(card.eid)),))
    placed = await rig.operations.place(SETUP, asked, None)
    assert placed.accepted == 3
    await rig.visit(card)
    drifts = [event["data"] for event in await rig.rows("events", card) if event["kind"] == "euicc.drift"]
    found = {
        (each["what"], each["believed"], each["said"])
        for drift in drifts
        for each in drift["differences"]  # type: ignore[index]
    }
    assert found == {
        ("profile.state", "enabled", "disabled"),
        ("profile.state", "disabled", "enabled"),
        ("defaultSmdpAddress", "smdp.example.com", "elsewhere.example.com"),
    }
    assert await rig.enabled(card) == CARRIER_B
    before = len(drifts)
    await rig.operations.place(SETUP, asked, None)
    await rig.visit(card)
    drifts = [event["data"] for event in await rig.rows("events", card) if event["kind"] == "euicc.drift"]
    assert len(drifts) == before, "what is as believed is no drift"


async def test_an_eim_whose_adding_is_in_doubt_is_looked_up_in_the_cards_own_list(rig: Rig) -> None:
    card = rig.cards[2]
    await done(rig, card, ListEim())
    operation = await ask(rig, card, add())
    package = await rig.poll(card)
    assert package is not None
    card.load_euicc_package(package)  # executed, and its result never comes
    for seq in list(range(1, 60)):
        card.remove_notification(seq)
    await rig.operations.withdraw(SETUP, operation)
    await rig.visit(card)
    row = await rig.operation(operation)
    assert (row["state"], row["outcome"]["resolved_by"]) == ("done", "inventory")  # type: ignore[index]
    assert "euicc.drift" not in [event["kind"] for event in await rig.rows("events", card)]


async def test_a_filtered_list_changes_only_what_it_tells(rig: Rig) -> None:
    card = rig.cards[2]
    known = {p["iccid"]: dict(p) for p in await rig.rows("profiles", card)}
    ended = await done(rig, card, ListProfileInfo(iccid=iccid(card, CARRIER_B), tags=bytes.fromhex("5A9F70")))
    assert isinstance(ended["outcome"], dict)
    assert ended["outcome"]["profiles"] == [format_iccid(iccid(card, CARRIER_B))]
    now = {p["iccid"]: dict(p) for p in await rig.rows("profiles", card)}
    assert {i: p["service_provider"] for i, p in now.items()} == {i: p["service_provider"] for i, p in known.items()}


async def test_guards_know_the_other_eims(rig: Rig) -> None:
    card = rig.cards[2]
    await done(rig, card, ListEim())
    config = sgp32.EimConfigurationData(EIM_ID, counter=7)
    with pytest.raises(InvalidLines):
        await ask(rig, card, UpdateEim(sgp32.encode(config)))
