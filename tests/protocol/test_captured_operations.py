"""Another eIM's operations and another IPA's answers: read as our steps and outcomes, and written anew alike."""

from typing import Final

import pytest

from eim.asn1 import sgp32
from eim.asn1.sgp32 import (
    DataResponse,
    ErrorSigned,
    EuiccPackageRequest,
    IpaEuiccDataRequest,
    PackageResult,
    ResultSigned,
)
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid, TransactionId
from eim.domain.outcome import Code, outcome_of, package_error
from eim.domain.step import DATA_TAGS, DataRequest, Step, check_package, kind_of
from eim.protocol import esep, steps
from eim.protocol.esipa import Provided, receive
from tests.protocol import captures
from tests.reference.spelling import bare

OLD: Final = Speaks.V1_0_1
# The number of each captured poll that got a signed package: what it asked for, and how it ended by the next capture.
OPERATIONS: Final = {
    5: (["listProfileInfo"], "ok"),
    7: (["enable"], "ok"),
    9: (["getRAT"], "ok"),
    11: (["disable"], "ok"),
    13: (["enable"], "ok"),
    15: (["enable"], "iccidOrAidNotFound"),
    17: (["disable", "enable", "listProfileInfo"], "ok"),
    19: (["delete"], "ok"),
    21: (["configureImmediateEnable"], "ok"),
    23: (["listEim"], "ok"),
    25: (["addEim"], "ok"),
    27: (["updateEim"], "ok"),
    29: (["deleteEim"], "ok"),
    31: (["listProfileInfo"], "replayError"),
    33: (["getRAT"], "ok"),
    35: (["disable", "enable"], "ok"),
    38: (["getRAT"], "unsigned"),
    46: (["listProfileInfo"], "ok"),
    48: (["enable"], "ok"),
}
QUESTIONS: Final = {
    3: ("80BF20BF228384A5A688A9BF2B", ()),
    40: ("A5A6", ("eumCertificate", "euiccCertificate")),
    42: ("BF22", ("euiccInfo2",)),
    44: ("84", ("associationToken",)),
    50: ("80BF20BF228384A5A688A9BF2B", ()),
}


def request_of(number: int) -> EuiccPackageRequest:
    octets = captures.of(number, "response")
    return sgp32.decode(EuiccPackageRequest, octets[octets.index(b"\xbf\x51") :])


def steps_of(number: int) -> tuple[Step, ...]:
    return steps.steps_in(request_of(number).package.package)


def answer_to(number: int) -> PackageResult:
    received = receive(captures.of(number + 1, "request"))
    assert isinstance(received, Provided)
    assert not isinstance(received.payload, DataResponse)
    payload: PackageResult = received.payload  # type: ignore[assignment]
    return payload


def test_no_captured_operation_is_left_out() -> None:
    sealed = {int(c.name[:2]) for c in captures.RESPONSES if c.type == "GetEimPackageResponse/euiccPackageRequest"}
    asked = {int(c.name[:2]) for c in captures.RESPONSES if c.type == "GetEimPackageResponse/ipaEuiccDataRequest"}
    assert sealed == set(OPERATIONS)
    assert asked == set(QUESTIONS)


@pytest.mark.parametrize("number", OPERATIONS)
def test_what_another_eim_signed_is_what_we_would_sign_for_the_same_steps(number: int) -> None:
    request, asked = request_of(number), steps_of(number)
    check_package(asked)
    assert [kind_of((step,)).value for step in asked] == OPERATIONS[number][0]
    named = request.package
    transaction = None if named.transaction_id is None else TransactionId(named.transaction_id)
    unsealed = Eid(named.eid), named.counter, transaction, 1, esep.contents(steps.package_of(asked, OLD))
    signed: list[bytes] = []

    def sign(tbs: bytes) -> bytes:
        signed.append(tbs)
        return request.signature

    (made,) = esep.seal_each(named.eim_id, [unsealed], sign)
    assert signed == [request.signed + bytes.fromhex("840101")]
    assert sgp32.decode(EuiccPackageRequest, made) == request


@pytest.mark.parametrize("number", OPERATIONS)
def test_another_cards_answer_ends_the_steps_as_the_index_says(number: int) -> None:
    answer, (_, reason) = answer_to(number), OPERATIONS[number]
    match answer:
        case ResultSigned():
            codes = [Code(result.kind, result.code) for result in answer.data.results]
            ended = outcome_of(steps_of(number), codes)
            assert (ended.reason, ended.deviating) == (reason, False)
            assert [step.place for step in ended.steps] == list(range(len(codes)))
        case ErrorSigned():
            assert package_error(answer.data.code) == reason
        case _:
            assert (reason, answer.association_token) == ("unsigned", 1)


@pytest.mark.parametrize("number", OPERATIONS)
def test_another_cards_answer_is_written_anew_alike(number: int) -> None:
    """From values alone: what is kept of the octets as they came is left out."""
    answer = answer_to(number)
    assert answer.raw in captures.of(number + 1, "request")
    assert sgp32.encode(bare(answer)) == answer.raw
    if isinstance(answer, ResultSigned | ErrorSigned):
        assert sgp32.encode(bare(answer.data)) == answer.signed


@pytest.mark.parametrize("number", QUESTIONS)
def test_a_question_of_another_eim_is_the_one_we_would_ask(number: int) -> None:
    tag_list, names = QUESTIONS[number]
    octets = captures.of(number, "response")[3:]
    assert sgp32.decode(IpaEuiccDataRequest, octets).tag_list == bytes.fromhex(tag_list)
    assert set(names) <= set(DATA_TAGS)
    assert steps.question(DataRequest(names), OLD, None, results_only=False) == octets
