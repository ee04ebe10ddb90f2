"""The standard's own module of each version reads what a card of that version says, and asks it what it can do."""

from typing import Any

import pytest

from eim.asn1.sgp32 import IpaEuiccDataRequest
from eim.domain.euicc import Speaks
from eim.sim import messages
from eim.sim.behaviour import Carrier, Naming
from eim.sim.data import data_response
from eim.sim.euicc import VirtualEuicc
from eim.sim.switches import Switches
from tests.reference.compilers import standard
from tests.sim.hand import EIM_ID, TRANSACTION, B, HandEim, enable_or_return, new_card
from tests.sim.operations import ECOS, PSMOS, SINCE_V1_1, package

pytestmark = pytest.mark.skipif(standard("v1.2") is None, reason="the standard's modules don't lie beside the checkout")
VERSIONS = list(Speaks)
_WORDS = {True: bytes.fromhex("80BF20BF228384A5A688A9BF2B"), False: bytes.fromhex("81BF20BF228384A5A6A8A9A0A2")}


def module(speaks: Speaks) -> Any:
    return standard(f"v{speaks.value}")


def knows(speaks: Speaks, name: str) -> bool:
    return speaks is not Speaks.V1_0_1 or name not in SINCE_V1_1


def card_of(speaks: Speaks) -> tuple[HandEim, VirtualEuicc]:
    eim = HandEim.new()
    return eim, new_card(eim, Switches(speaks=speaks))


def exact(compiled: Any, octets: bytes) -> Any:
    """What the module reads, which it writes as the same octets again."""
    value = compiled.decode(octets)
    assert compiled.encode(value) == octets
    return value


@pytest.mark.parametrize("speaks", VERSIONS)
@pytest.mark.parametrize("name", [*PSMOS, *ECOS])
def test_the_result_of_each_operation_is_one_of_its_version(speaks: Speaks, name: str) -> None:
    eim, card = card_of(speaks)
    octets = card.load_euicc_package(package(eim, card.eid, 1, name))
    arm, value = exact(module(speaks)["EuiccPackageResult"], octets)
    data = value["euiccPackageResultDataSigned"]
    ((kind, _),) = data["euiccResult"]
    assert arm == "euiccPackageResultSigned"
    assert (kind == "processingTerminated") is not knows(speaks, name)


@pytest.mark.parametrize("speaks", VERSIONS)
def test_errors_are_those_of_the_version(speaks: Speaks) -> None:
    eim, card = card_of(speaks)
    module_of = module(speaks)["EuiccPackageResult"]
    forged = card.load_euicc_package(package(HandEim.new(), card.eid, 1, "getRAT"))
    card.load_euicc_package(package(eim, card.eid, 5, "getRAT"))
    replayed = card.load_euicc_package(package(eim, card.eid, 5, "getRAT"))
    assert exact(module_of, forged)[0] == "euiccPackageErrorUnsigned"
    assert exact(module_of, replayed)[0] == "euiccPackageErrorSigned"


@pytest.mark.parametrize("speaks", VERSIONS)
def test_all_data_of_a_card_is_of_its_version(speaks: Speaks) -> None:
    eim, card = card_of(speaks)
    card.load_euicc_package(eim.package(card.eid, 1, enable_or_return(B)))
    old = speaks is Speaks.V1_0_1
    request = IpaEuiccDataRequest(_WORDS[old], transaction_id=None if old else TRANSACTION)
    arm, data = exact(module(speaks)["IpaEuiccDataResponse"], data_response(card, request, EIM_ID))
    assert arm == "ipaEuiccData"
    assert data["associationToken"] == 1
    assert data["euiccInfo2"]["iotSpecificInfo"]["iotVersion"]


@pytest.mark.parametrize("speaks", VERSIONS)
def test_what_its_ipa_sends_is_of_its_version(speaks: Speaks) -> None:
    eim, card = card_of(speaks)
    raw = card.load_euicc_package(package(eim, card.eid, 1, "enable"))
    told = messages.result_with(raw, [kept.raw for kept in card.notifications], speaks)
    provided = messages.provide(told, card.eid, speaks, Naming.NAMED, Carrier.PROVIDE)
    handled = messages.provide(told, card.eid, speaks, Naming.NAMED, Carrier.HANDLE_NOTIFICATION)
    refused = messages.provide(
        messages.response_error(1, None, speaks), card.eid, speaks, Naming.NAMED, Carrier.PROVIDE
    )
    poll = messages.poll(card.eid, speaks, b"\x62\xf2\x10", 1)
    names = {provided: "ProvideEimPackageResult", handled: "HandleNotificationEsipa", poll: "GetEimPackageRequest"}
    for octets, name in {**names, refused: "ProvideEimPackageResult"}.items():
        exact(module(speaks)[name], octets)
