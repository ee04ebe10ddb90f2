import pytest

from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.errors import Malformed
from eim.sim.behaviour import Carrier, Naming
from eim.sim.messages import acknowledged, poll, provide

EID = Eid(bytes.fromhex("89049032123451234512345678901235"))
PLMN = bytes.fromhex("62F210")


def test_a_poll_is_that_of_the_reference() -> None:
    assert poll(EID, Speaks.V1_2, None, None) == bytes.fromhex("BF4F125A1089049032123451234512345678901235")
    told = "BF4F1C5A10890490321234512345123456789012358000810101820362F210"
    assert poll(EID, Speaks.V1_2, PLMN, 1) == bytes.fromhex(told)


def test_a_v1_0_1_poll_has_its_network_at_tag_81() -> None:
    octets = poll(EID, Speaks.V1_0_1, PLMN, None)
    assert octets == bytes.fromhex("BF4F175A1089049032123451234512345678901235810362F210")


@pytest.mark.parametrize(
    ("speaks", "naming", "carrier", "head"),
    [
        (Speaks.V1_2, Naming.NAMED, Carrier.PROVIDE, "BF50145A10"),
        (Speaks.V1_2, Naming.UNNAMED, Carrier.PROVIDE, "BF50023000"),
        (Speaks.V1_0_1, Naming.NAMED, Carrier.PROVIDE, "BF50023000"),
        (Speaks.V1_2, Naming.UNNAMED, Carrier.HANDLE_NOTIFICATION, "BF3D05BF50023000"),
        (Speaks.V1_0_1, Naming.NAMED, Carrier.HANDLE_NOTIFICATION, "BF3D04A1023000"),
    ],
)
def test_a_result_lies_in_the_envelope_of_its_version(
    speaks: Speaks, naming: Naming, carrier: Carrier, head: str
) -> None:
    assert provide(b"\x30\x00", EID, speaks, naming, carrier).hex().upper().startswith(head)


@pytest.mark.parametrize(
    ("answer", "seqs"),
    [
        ("BF5006BF5303800107", (7,)),
        ("BF500ABF5307800107800200 80", (7, 128)),
        ("BF50023000", ()),
        ("BF5003020102", ()),
        ("BF5003BF5300", ()),
        ("BF5000", ()),
    ],
)
def test_an_acknowledgement_names_what_may_be_forgotten(answer: str, seqs: tuple[int, ...]) -> None:
    assert acknowledged(bytes.fromhex(answer)) == seqs


def test_an_answer_of_another_function_acknowledges_nothing() -> None:
    with pytest.raises(Malformed):
        acknowledged(bytes.fromhex("BF4F03020101"))
