"""Listings name the tags that we want to know, and go out plain to cards that refuse that (SGP.32 section 5.9.14)."""

from uuid import UUID

import msgspec
import pytest

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EuiccPackageRequest
from eim.domain.euicc import Speaks
from eim.domain.ids import format_eid
from eim.domain.step import Delete, Enable, GetRat, ListProfileInfo, Step, kind_of
from eim.errors import InvalidLines
from eim.protocol.steps import steps_in
from eim.services.ordering import Ordering, Target, Template
from eim.services.sealing import Sealer
from eim.services.tokens import SETUP
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import CARRIER_B, Make
from eim.sim.profiles import PPR_NO_DELETE
from eim.sim.switches import STANDARD, ProfileTags
from eim.store.connect import DbRole
from tests.database import Database
from tests.services import rig as rigs
from tests.services.rig import Rig

SHORT = bytes.fromhex("5A4F9F709091929599")
LONG = bytes.fromhex("5A4F9F7090919295999F7B9F269F67")
NO_DELETE = b"\x05\x20"  # five unused bits, then pprUpdateControl, ppr1, ppr2
REFUSING = [ProfileTags.REFUSED, ProfileTags.UNKNOWN]


async def start(database: Database, *, speaks: Speaks = Speaks.V1_2, tags: ProfileTags = ProfileTags.ANY) -> Rig:
    """One card, onboarded; its profile B has a nickname and must not be deleted."""
    switches = msgspec.structs.replace(STANDARD, speaks=speaks, profile_tags=tags)
    rig = await rigs.start(database, 1, Make(cannot_attach=0, sleepers=0, switches=(switches,)))
    change(rig.cards[0], ppr=frozenset({PPR_NO_DELETE}), nickname="spare", fallback_allowed=True)
    await rig.onboard()
    return rig


def change(card: VirtualEuicc, **values: object) -> None:
    """Its profile B is otherwise from now on."""
    profiles = tuple(
        msgspec.structs.replace(p, **values) if p.provider == CARRIER_B else p for p in card.state.profiles
    )
    card.state = msgspec.structs.replace(card.state, profiles=profiles)


async def ask(rig: Rig, *steps: Step) -> UUID:
    asked = Ordering(kind_of(steps), (Target(format_eid(rig.cards[0].eid)),), steps=tuple(map(Template, steps)))
    return (await rig.operations.place(SETUP, asked, None)).placed[0].operation


async def listings(rig: Rig) -> list[bytes | None]:
    """The tags in each listing that was signed, in the order of their counters; None: the plain form."""
    rows = sorted(await rig.rows("packages", rig.cards[0]), key=lambda row: row["number"])  # type: ignore[arg-type,return-value]
    signed = [sgp32.decode(EuiccPackageRequest, row["sealed"]) for row in rows if row["counter"] is not None]  # type: ignore[arg-type]
    steps = [step for request in signed for step in steps_in(request.package.package)]
    return [step.tags for step in steps if isinstance(step, ListProfileInfo)]


async def b(rig: Rig) -> dict[str, object]:
    """What we know of profile B."""
    return next(row for row in await rig.rows("profiles", rig.cards[0]) if row["service_provider"] == CARRIER_B)


async def happened(rig: Rig) -> list[object]:
    return [event["kind"] for event in await rig.rows("events", rig.cards[0])]


@pytest.mark.parametrize("speaks", [Speaks.V1_0_1, Speaks.V1_2])
async def test_a_card_that_tells_only_what_is_asked_tells_its_policy_rules(database: Database, speaks: Speaks) -> None:
    rig = await start(database, speaks=speaks)
    await rig.visit(rig.cards[0])
    assert await listings(rig) == [SHORT if speaks is Speaks.V1_0_1 else LONG]
    known = await b(rig)
    assert (known["ppr"], known["nickname"]) == (NO_DELETE, "spare")
    with pytest.raises(InvalidLines) as refused:
        await ask(rig, Delete(rig.cards[0].state.profiles[1].iccid))
    assert "ppr2" in refused.value.lines[0][1]


@pytest.mark.parametrize("tags", REFUSING)
async def test_a_card_that_refuses_tags_is_asked_plainly_at_once_and_from_then_on(
    database: Database, tags: ProfileTags
) -> None:
    rig = await start(database, tags=tags)
    assert await rig.visit(rig.cards[0]) == 3  # the data request, the listing, the listing again
    assert await listings(rig) == [LONG, None]
    assert {row["state"] for row in await rig.rows("operations", rig.cards[0])} == {"done"}
    assert (await happened(rig)).count("operation.postponed") == 1
    assert (await b(rig))["ppr"] is None
    operation = await ask(rig, GetRat(), ListProfileInfo())
    assert await rig.visit(rig.cards[0]) == 1
    assert (await rig.operation(operation))["state"] == "done"
    assert await listings(rig) == [LONG, None, None]
    assert "operation.failed" not in await happened(rig)


@pytest.mark.parametrize("ended", ["withdrawn", "superseded"])
async def test_a_refusal_of_tags_that_comes_when_it_is_in_doubt_blames_nobody(database: Database, ended: str) -> None:
    rig = await start(database)
    card = rig.cards[0]
    await rig.visit(card)
    card.switches = msgspec.structs.replace(card.switches, profile_tags=ProfileTags.REFUSED)
    operation = await ask(rig, ListProfileInfo())
    package = await rig.poll(card)
    assert package is not None
    if ended == "withdrawn":
        await rig.operations.withdraw(SETUP, operation)
    else:
        await rig.database.owner().execute("UPDATE operations SET expires_at = now() WHERE id = $1", operation)
        await rig.work()
    assert (await rig.operation(operation))["state"] == "in_doubt"
    await rig.provide(card, card.load_euicc_package(package))
    row = await rig.operation(operation)
    assert (row["state"], row["outcome"]["reason"]) == ("failed", ended)  # type: ignore[index]
    await rig.soon()
    await rig.visit(card)
    assert (await listings(rig))[-1] is None
    lists = [row for row in await rig.rows("operations", card) if row["kind"] == "listProfileInfo"]
    assert {row["state"] for row in lists if row["id"] != operation} == {"done"}


async def test_tags_that_an_operator_named_are_the_operators_even_when_refused(database: Database) -> None:
    rig = await start(database, tags=ProfileTags.REFUSED)
    await rig.visit(rig.cards[0])
    operation = await ask(rig, ListProfileInfo(tags=bytes.fromhex("5A9F70")))
    await rig.visit(rig.cards[0])
    row = await rig.operation(operation)
    assert (row["state"], row["outcome"]["reason"]) == ("failed", "incorrectInputValues")  # type: ignore[index]


async def test_a_policy_rule_is_forgotten_only_by_a_listing_that_asked_for_rules(database: Database) -> None:
    rig = await start(database)
    card = rig.cards[0]
    await rig.visit(card)
    named = rig.worker._sealer
    rig.worker._sealer = Sealer(rig.database.pool(DbRole.WORKER), rig.keys, 3, list_tags=False)
    change(card, ppr=frozenset())
    for step in (ListProfileInfo(), ListProfileInfo(profile_class=2), ListProfileInfo(tags=bytes.fromhex("5A9F70"))):
        await ask(rig, step)
        await rig.visit(card)
        assert ((await b(rig))["ppr"], (await b(rig))["nickname"]) == (NO_DELETE, "spare")
    assert (await listings(rig))[-3:] == [None, None, bytes.fromhex("5A9F70")]
    rig.worker._sealer = named
    await ask(rig, ListProfileInfo(profile_class=2))
    await rig.visit(card)
    assert ((await b(rig))["ppr"], (await b(rig))["nickname"]) == (None, "spare")
    assert "euicc.drift" not in await happened(rig)


async def test_the_plain_form_stays_in_packages_that_change_the_card_and_while_the_version_is_not_known(
    database: Database,
) -> None:
    rig = await start(database)
    card = rig.cards[0]
    await rig.visit(card)
    await ask(rig, Enable(card.state.profiles[1].iccid), ListProfileInfo())
    await rig.visit(card)
    await rig.database.owner().execute("UPDATE euiccs SET speaks = NULL")
    await ask(rig, ListProfileInfo())
    await rig.work()
    assert await listings(rig) == [LONG, None, None]
    assert (await b(rig))["ppr"] == NO_DELETE
