"""Every error code of SGP.32 that a card or its IPA can give, provoked over HTTPS: its name reaches who asked.

The names come from two tables written apart, the product's and the simulator's. A code that is in one of them and is
not provoked here fails the last test.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EimConfigurationData
from eim.domain import outcome
from eim.domain.euicc import Speaks
from eim.domain.operation import Kind
from eim.domain.step import (
    AddEim,
    ConfigureImmediateEnable,
    DataRequest,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    Step,
    UnsetFallbackAttribute,
    UpdateEim,
)
from eim.sim.journal import check
from eim.sim.provocations import CODES
from eim.sim.switches import Switches
from tests.cluster import Cluster
from tests.domain.steps import CONFIG
from tests.esipa.grounds import QUICK, Device, opened
from tests.esipa.server import EIM_ID, Served

pytestmark = pytest.mark.xdist_group("every code")  # all cells come from one run

# Its tags are the operator's: where the eIM named them, it asks again without.
LISTING: Final = ListProfileInfo(tags=bytes.fromhex("5A9F70"))
STEPS: Final[Mapping[str, Callable[[Device], Step]]] = {
    "enable": lambda device: Enable(device.made.profile_b),
    "disable": lambda device: Disable(device.made.profile_a),
    "delete": lambda device: Delete(device.made.profile_b),
    "listProfileInfo": lambda _: LISTING,
    "configureImmediateEnable": lambda _: ConfigureImmediateEnable(True),
    "setFallbackAttribute": lambda device: SetFallbackAttribute(device.made.profile_b),
    "unsetFallbackAttribute": lambda _: UnsetFallbackAttribute(),
    "setDefaultDpAddress": lambda _: SetDefaultDpAddress("smdp.example.com"),
    "addEim": lambda _: AddEim(sgp32.encode(CONFIG)),
    "deleteEim": lambda _: DeleteEim(EIM_ID),
    "updateEim": lambda _: UpdateEim(sgp32.encode(EimConfigurationData(EIM_ID, fqdn="moved.example.com"))),
    "listEim": lambda _: ListEim(),
}
CALLED: Final = {Kind.DATA_REQUEST: "data", Kind.RENEW: "updateEim"}  # where it travels under another name
# Told by the card to its IPA alone, or to an eIM only with a download.
NOT_FOR_AN_EIM: Final = frozenset({"profileRollback", "download"})


class Said(msgspec.Struct, frozen=True):
    """What the eIM's operator sees of one code."""

    operation: Mapping[str, object]
    timeline: list[dict[str, object]]  # newest first, as the API gives it
    events: list[dict[str, object]]  # as webhooks get them

    @property
    def named(self) -> set[str]:
        """The standard's names in what happened, where a meaning, an owner and a next step stand beside."""
        return _named(self.timeline, "meaning", "next_step", "owner") & _named(
            self.events, "means", "nextstep", "owner"
        )

    @property
    def reason(self) -> str | None:
        ended = self.operation["outcome"]
        return str(ended["reason"]) if isinstance(ended, dict) else None


def _named(items: list[dict[str, object]], *beside: str) -> set[str]:
    found = set[str]()
    for item in items:
        data = item["data"]
        if isinstance(data, dict) and all(item.get(each) for each in beside):
            found |= {str(data.get(key)) for key in ("reason", "error", "rollback")}
    return found


async def look(device: Device, operation: Mapping[str, object], code: str = "") -> Said:
    """`code` is waited for: an event is told once no older transaction of any test here may add another."""
    shown = await device.grounds.get(f"/v1/euiccs/{device.eid}/timeline?limit=200")
    timeline, until = msgspec.convert(shown["items"], list[dict[str, object]]), time.monotonic() + 60
    while True:
        told = await device.grounds.get(f"/v1/events?eid={device.eid}&limit=1000")
        events = msgspec.convert(told["items"], list[dict[str, object]])
        if not code or code in _named(events, "means", "nextstep", "owner") or time.monotonic() > until:
            return Said(operation, timeline, events)
        await asyncio.sleep(0.2)


async def refuse(device: Device, what: str, code: str, *steps: Step) -> Said:
    """Order `steps`, to which the device has this one answer, and see what is said of it."""
    device.card.provocations.refuse(what, code, times=1)
    before = await look(device, {})
    retries = None if code == "ecallActive" else 0
    said = await look(device, await device.do(*steps, retries=retries), code)
    news = len(said.timeline) - len(before.timeline)
    return Said(said.operation, said.timeline[:news], said.events)


async def go_back_in_vain(device: Device) -> Said:
    """No network takes profile B, and the card can't take the change back either."""
    device.ipa.behaviour = msgspec.structs.replace(QUICK, cannot_attach=frozenset({device.made.profile_b}))
    device.card.provocations.refuse("rollback", "undefinedError")
    operation = await device.order(Enable(device.made.profile_b, rollback=True))
    await device.visit()
    device.ipa.behaviour = QUICK  # it is moved to where there is a network
    await device.visit()
    return await look(device, await device.grounds.get(f"/v1/operations/{operation}"), "undefinedError")


Told = dict[tuple[str, str], Said | Exception]


async def each_in_turn(device: Device, what: str, told: Told) -> None:
    """Every code of one operation, on one card: a refused operation leaves it as it was."""
    for code in CODES[what]:
        told[what, code] = await caught(refuse(device, what, code, STEPS[what](device)))


async def caught(saying: Awaitable[Said]) -> Said | Exception:
    try:
        return await saying
    except Exception as error:  # noqa: BLE001 - the code's own test says it
        return error


async def alone(device: Device, what: str, code: str, told: Told) -> None:
    """One code on a card of its own: what it leaves open would mix with the next one."""
    if what == "rollback":
        told[what, code] = await caught(go_back_in_vain(device))
    else:
        step = DataRequest() if what == "data" else LISTING
        told[what, code] = await caught(refuse(device, what, code, step))


BY_THEMSELVES: Final = [
    (what, code)
    for what in ("package", "unsigned", "processingTerminated", "data", "ipa", "rollback")
    for code in CODES[what]
]


async def _run(postgres: Cluster, folder: Path) -> Told:
    told: Told = {}
    async with opened(postgres, folder, len(STEPS) + len(BY_THEMSELVES), [Switches(speaks=Speaks.V1_3)]) as grounds:
        devices = [grounds.device(number) for number in range(len(grounds.cards))]
        series = [each_in_turn(device, what, told) for device, what in zip(devices, STEPS, strict=False)]
        rest = zip(devices[len(STEPS) :], BY_THEMSELVES, strict=True)
        await asyncio.gather(*series, *(alone(device, what, code, told) for device, (what, code) in rest))
        report = check(grounds.journal.entries)
        assert report.sound, report
    return told


@pytest.fixture(scope="module")
def told(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Told:
    return asyncio.run(_run(postgres, tmp_path_factory.mktemp("codes")))


def said_of(told: Told, what: str, code: str) -> Said:
    found = told[what, code]
    if isinstance(found, Exception):
        raise found
    return found


ENDING: Final = [(what, code) for what in (*STEPS, "processingTerminated") for code in CODES[what]]


@pytest.mark.parametrize(("what", "code"), ENDING, ids=[f"{what}-{code}" for what, code in ENDING])
def test_a_refused_operation_fails_by_the_standards_name_with_meaning_and_next_step(
    told: Told, what: str, code: str
) -> None:
    said = said_of(told, what, code)
    assert (said.operation["state"], said.reason) == ("failed", code)
    assert code in said.named


# What a whole package is refused for, and what becomes of the operation.
REFUSALS: Final[Mapping[tuple[str, str], tuple[str, str | None]]] = {
    ("package", "invalidEid"): ("failed", "invalidEid"),
    ("package", "replayError"): ("failed", "superseded"),  # the card was asked, and lists its profiles
    ("package", "counterValueOutOfRange"): (
        "accepted",
        "counterValueOutOfRange",
    ),  # behind a renewal of the association
    ("package", "sizeOverflow"): ("failed", "sizeOverflow"),
    ("package", "ecallActive"): ("accepted", "ecallActive"),  # it is tried again
    ("package", "undefinedError"): ("failed", "undefinedError"),
    ("unsigned", "sizeOverflow"): ("failed", "superseded"),
    ("unsigned", "undefinedError"): ("failed", "superseded"),
    ("data", "incorrectTagList"): ("failed", "incorrectTagList"),
    ("data", "euiccCiPKIdNotFound"): ("failed", "euiccCiPKIdNotFound"),
    ("data", "ecallActive"): ("accepted", "ecallActive"),
    ("data", "undefinedError"): ("failed", "undefinedError"),
    ("ipa", "invalidPackageFormat"): ("failed", "superseded"),
    ("ipa", "unknownPackage"): ("failed", "superseded"),
    ("ipa", "undefinedError"): ("failed", "superseded"),
    ("rollback", "undefinedError"): ("done", "ok"),
}


@pytest.mark.parametrize(("what", "code"), REFUSALS, ids=[f"{what}-{code}" for what, code in REFUSALS])
def test_a_refused_package_is_named_and_its_operation_ends_as_it_must(told: Told, what: str, code: str) -> None:
    said = said_of(told, what, code)
    assert (said.operation["state"], said.reason) == REFUSALS[what, code]
    assert code in said.named


def names() -> Iterator[tuple[str, str]]:
    """All codes of the product's own tables, called as here."""
    for kind, codes in outcome.CODES.items():
        what = CALLED.get(kind, kind.value)
        yield from ((what, name) for name in codes.values() if name != "lastEimDeleted")  # a success
    tables = {
        "rollback": outcome.ROLLBACK,
        "processingTerminated": outcome.TERMINATED,
        "package": outcome.PACKAGE_ERRORS,
    }
    for what, codes in tables.items():
        yield from ((what, name) for name in codes.values())


def test_no_code_is_left_out() -> None:
    provoked = {*ENDING, *REFUSALS}
    assert provoked == {(what, code) for what, codes in CODES.items() if what not in NOT_FOR_AN_EIM for code in codes}
    assert set(names()) <= provoked


async def test_a_poll_that_names_no_card_is_answered_missing_eid(served: Served) -> None:
    """The other codes of eimPackageError: test_http (2 and 3), and "nothing" (1) everywhere."""
    assert (await served.door.post(bytes.fromhex("BF4F00"))).body == bytes.fromhex("BF4F03020104")
