"""Every operation for every version and both curves, over HTTPS: ordered, signed, fetched, executed, reported, in our
view, shown."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EimConfigurationData
from eim.config import Identity
from eim.domain.euicc import Speaks
from eim.domain.step import (
    DATA_TAGS,
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
)
from eim.keys.files import KeyStore
from eim.protocol.ecdsa import Curve
from eim.protocol.published_keys import Mode
from eim.sim.fleet import Card
from eim.sim.journal import Executed, check
from eim.sim.pki import Pki
from eim.sim.psmo import rule
from eim.sim.switches import Switches
from tests.cluster import Cluster
from tests.domain.steps import CONFIG
from tests.esipa.grounds import Device, Refused, change, opened
from tests.esipa.server import EIM_ID

pytestmark = pytest.mark.xdist_group("round trips")  # all cells of the matrix come from one run

VERSIONS: Final = tuple(Speaks)
SMDP: Final = "smdp.example.com"
OTHER: Final = CONFIG.eim_id
_ADD: Final = AddEim(sgp32.encode(CONFIG))
_MOVED: Final = UpdateEim(sgp32.encode(EimConfigurationData(EIM_ID, fqdn="moved.example.com")))
_EVERYTHING: Final = DataRequest(tuple(DATA_TAGS))


class Cell(msgspec.Struct):
    """What came of one operation on one card."""

    shown: Mapping[str, object]  # the operation, by the API
    believed: Mapping[str, str]  # the profiles, by the API
    row: Mapping[str, object]
    acts: list[tuple[str, int]]  # by the card's own journal
    truth: Mapping[str, str]  # the profiles, by the card
    eims: tuple[str, ...]
    device: Device

    @property
    def outcome(self) -> Mapping[str, object]:
        return msgspec.convert(self.shown["outcome"], dict[str, object])


async def tell(device: Device, *steps: Step) -> Cell:
    """Order `steps` as one package, and look at both sides."""
    before = len(device.entries)
    shown = await device.do(*steps)
    executed = [entry for entry in device.entries[before:] if isinstance(entry, Executed)]
    names = {iccid: name for name, iccid in device.profiles.items()}
    return Cell(
        shown=shown,
        believed=await device.believed(),
        row=await device.row(),
        acts=[(act.kind, act.code) for entry in executed for act in entry.acts],
        truth={names[p.label]: "enabled" if p.enabled else "disabled" for p in device.card.state.profiles},
        eims=tuple(entry.eim_id for entry in device.card.associations.entries),
        device=device,
    )


async def _enable(device: Device) -> Cell:
    return await tell(device, Enable(device.made.profile_b, rollback=True))


async def _disable(device: Device) -> Cell:
    return await tell(device, Disable(device.made.profile_a))


async def _delete(device: Device) -> Cell:
    return await tell(device, Delete(device.made.profile_b))


async def _by_iccid(device: Device) -> Cell:
    return await tell(device, ListProfileInfo(iccid=device.made.profile_b, tags=bytes.fromhex("5A9F709099B6B7")))


async def _by_class(device: Device) -> Cell:
    return await tell(device, ListProfileInfo(profile_class=2))


async def _by_aid(device: Device) -> Cell:
    return await tell(device, ListProfileInfo(aid=device.card.state.profiles[0].aid))


async def _set_fallback(device: Device) -> Cell:
    return await tell(device, SetFallbackAttribute(device.made.profile_b))


async def _unset_fallback(device: Device) -> Cell:
    await device.do(SetFallbackAttribute(device.made.profile_b))
    return await tell(device, UnsetFallbackAttribute())


async def _delete_other(device: Device) -> Cell:
    await device.do(_ADD)
    return await tell(device, DeleteEim(OTHER))


async def _several(device: Device) -> Cell:
    a, b = device.made.profile_a, device.made.profile_b
    return await tell(device, Disable(a), Delete(a), Enable(b), ListProfileInfo())


def _plain(step: Step) -> Callable[[Device], Awaitable[Cell]]:
    return lambda device: tell(device, step)


AS_BEFORE: Final = {"A": "enabled", "B": "disabled"}
SWITCHED: Final = {"A": "disabled", "B": "enabled"}


class Trip(msgspec.Struct, frozen=True):
    """One way through, and what has to be so at its end."""

    go: Callable[[Device], Awaitable[Cell]]
    acts: list[tuple[str, int]]  # of the last package
    profiles: Mapping[str, str] = msgspec.field(default_factory=lambda: AS_BEFORE)
    eims: tuple[str, ...] = (EIM_ID,)
    settings: Mapping[str, object] = {}
    reason: str = "ok"
    since: Speaks = Speaks.V1_0_1


_IMMEDIATE: Final = {"immediateEnable": {"flag": True, "smdpOid": None, "smdpAddress": SMDP}}
_RAT: Final = [{"pprs": ["ppr1", "ppr2"], "operators": [{"mccMnc": "62F210"}], "consentRequired": True}]
TRIPS: Final[Mapping[str, Trip]] = {
    "enable": Trip(_enable, [("enable", 0)], SWITCHED),
    "disable": Trip(_disable, [("disable", 0)], {"A": "disabled", "B": "disabled"}),
    "delete": Trip(_delete, [("delete", 0)], {"A": "enabled"}),
    "listProfileInfo": Trip(_plain(ListProfileInfo()), [("listProfileInfo", 0)]),
    "listProfileInfo by ICCID": Trip(_by_iccid, [("listProfileInfo", 0)]),
    "listProfileInfo by AID": Trip(_by_aid, [("listProfileInfo", 0)]),
    "listProfileInfo by class": Trip(_by_class, [("listProfileInfo", 0)]),
    "getRAT": Trip(_plain(GetRat()), [("getRAT", 0)]),
    "configureImmediateEnable": Trip(
        _plain(ConfigureImmediateEnable(True, None, SMDP)), [("configureImmediateEnable", 0)], settings=_IMMEDIATE
    ),
    "setFallbackAttribute": Trip(_set_fallback, [("setFallbackAttribute", 0)], since=Speaks.V1_1),
    "unsetFallbackAttribute": Trip(_unset_fallback, [("unsetFallbackAttribute", 0)], since=Speaks.V1_1),
    "setDefaultDpAddress": Trip(
        _plain(SetDefaultDpAddress(SMDP)),
        [("setDefaultDpAddress", 0)],
        settings={"defaultSmdpAddress": SMDP},
        since=Speaks.V1_1,
    ),
    "addEim": Trip(_plain(_ADD), [("addEim", 0)], eims=(EIM_ID, OTHER)),
    "updateEim": Trip(_plain(_MOVED), [("updateEim", 0)]),
    "deleteEim": Trip(_delete_other, [("deleteEim", 0)]),
    "deleteEim of the last, itself": Trip(
        _plain(DeleteEim(EIM_ID)), [("deleteEim", 2)], eims=(), reason="lastEimDeleted"
    ),
    "listEim": Trip(_plain(ListEim()), [("listEim", 0)]),
    "several PSMOs": Trip(
        _several, [("disable", 0), ("delete", 0), ("enable", 0), ("listProfileInfo", 0)], {"B": "enabled"}
    ),
    "several eCOs": Trip(
        lambda device: tell(device, _ADD, _MOVED, ListEim()),
        [("addEim", 0), ("updateEim", 0), ("listEim", 0)],
        eims=(EIM_ID, OTHER),
    ),
    "ipaEuiccDataRequest": Trip(_plain(_EVERYTHING), []),
}
# By operation and version: what came of it, or what the cell's own test has to raise.
Matrix = dict[tuple[str, Speaks], Cell | Exception]
_ON: Final = {Curve.P256: ec.SECP256R1, Curve.BRAINPOOL: ec.BrainpoolP256R1}
CELLS: Final = [
    (name, speaks)
    for name, trip in TRIPS.items()
    for speaks in VERSIONS
    if VERSIONS.index(speaks) >= VERSIONS.index(trip.since)
]
REFUSED: Final = [(name, trip) for name, trip in TRIPS.items() if trip.since is not Speaks.V1_0_1]


def _prepare(card: Card) -> None:
    change(card.euicc, card.profile_b, fallback_allowed=True, nickname="b", owner=bytes.fromhex("62F210"))
    rules = (rule((1, 2), bytes.fromhex("62F210"), consent=True),)
    card.euicc.state = msgspec.structs.replace(card.euicc.state, rules=rules)


async def _run(postgres: Cluster, folder: Path, curve: Curve) -> Matrix:
    """The eIM's key and those of cards and their issuers are all on `curve`; test_behaviours has them on two."""
    names = list(TRIPS)
    switches = [Switches(speaks=speaks) for speaks in VERSIONS]  # dealt in turn
    KeyStore(folder / "data" / "keys", Mode.TEST).create_identity_key(Identity().key_name, curve)
    pki = Pki.new(_ON[curve]())
    async with opened(postgres, folder, len(names) * len(VERSIONS), switches, _prepare, pki) as grounds:

        async def one(at: int) -> Cell | Exception:
            try:
                return await TRIPS[names[at // len(VERSIONS)]].go(grounds.device(at))
            except Exception as error:  # noqa: BLE001 - the cell's own test says it
                return error

        cells = await asyncio.gather(*(one(at) for at in range(len(grounds.cards))))
        report = check(grounds.journal.entries)
        assert report.sound, report
    return {(names[at // len(VERSIONS)], VERSIONS[at % len(VERSIONS)]): cell for at, cell in enumerate(cells)}


@pytest.fixture(scope="module", params=list(Curve), ids=[curve.value for curve in Curve])
def matrix(request: pytest.FixtureRequest, postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return asyncio.run(_run(postgres, tmp_path_factory.mktemp("matrix"), request.param))


def cell_of(matrix: Matrix, name: str, speaks: Speaks) -> Cell:
    found = matrix[name, speaks]
    if isinstance(found, Exception):
        raise found
    return found


@pytest.mark.parametrize(("name", "speaks"), CELLS, ids=[f"{name}-{speaks.value}" for name, speaks in CELLS])
def test_an_operation_comes_back_done_and_both_sides_agree(matrix: Matrix, name: str, speaks: Speaks) -> None:
    trip, cell = TRIPS[name], cell_of(matrix, name, speaks)
    assert (cell.shown["state"], cell.outcome["reason"]) == ("done", trip.reason), cell.shown
    assert cell.acts == trip.acts
    assert cell.truth == cell.believed == trip.profiles
    assert cell.eims == trip.eims
    settings = cell.row["settings"] or {}
    assert isinstance(settings, dict)
    assert trip.settings.items() <= settings.items()
    assert cell.row["speaks"] == speaks.value
    assert cell.row["curve"] == cell.device.card.credentials.key.curve.name.replace("secp256r1", "P-256")
    assert not cell.device.card.results, "what was reported is acknowledged"


@pytest.mark.parametrize(("name", "trip"), REFUSED, ids=[name for name, _ in REFUSED])
def test_what_came_after_v1_0_1_is_not_sent_to_such_a_card(matrix: Matrix, name: str, trip: Trip) -> None:
    found = matrix[name, Speaks.V1_0_1]
    assert isinstance(found, Refused)
    assert f"came with {trip.since.value}" in str(found)
