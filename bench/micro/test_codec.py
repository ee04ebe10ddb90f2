"""What one message costs to read or write, beside asn1tools with the same notation."""

from pathlib import Path
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from eim._fast import esipa, tlv
from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import Enable, EuiccPackageSigned, PsmoList
from eim.protocol.esipa import receive
from tests.reference.compilers import own

_CAPTURES: Final = Path(__file__).parents[2] / "tests" / "vectors" / "esipa-captures"
_EID: Final = bytes.fromhex("89990017000000000000000000000124")
_ICCID: Final = bytes.fromhex("98990010000000000012")
_PACKAGE: Final = EuiccPackageSigned("eim.example.com", _EID, 7, bytes(range(16)), PsmoList((Enable(_ICCID, True),)))


def captured(name: str) -> bytes:
    return bytes.fromhex((_CAPTURES / f"{name}.request.hex").read_text())


POLL: Final = captured("02-poll-nothing")
RESULT: Final = captured("06-psmo-listProfileInfo-result")
DATA: Final = captured("41-edr-certs-result")


@pytest.mark.benchmark(group="read a poll")
def test_read_poll(benchmark: BenchmarkFixture) -> None:
    assert benchmark(esipa.read_poll, POLL) is not None


@pytest.mark.benchmark(group="read a poll")
def test_receive_poll(benchmark: BenchmarkFixture) -> None:
    benchmark(receive, POLL)


@pytest.mark.benchmark(group="read a poll")
def test_asn1tools_poll(benchmark: BenchmarkFixture) -> None:
    benchmark(own().decode, "GetEimPackageRequest", POLL)


@pytest.mark.benchmark(group="read a result")
def test_receive_result(benchmark: BenchmarkFixture) -> None:
    benchmark(receive, RESULT)


@pytest.mark.benchmark(group="read a card's data and certificates")
def test_receive_data(benchmark: BenchmarkFixture) -> None:
    benchmark(receive, DATA)


@pytest.mark.benchmark(group="read a card's data and certificates")
def test_asn1tools_data(benchmark: BenchmarkFixture) -> None:
    benchmark(own().decode, "ProvideEimPackageResult", DATA)


@pytest.mark.benchmark(group="look at every TLV of a card's data")
def test_check(benchmark: BenchmarkFixture) -> None:
    benchmark(tlv.check, DATA, der.DEPTH)


@pytest.mark.benchmark(group="write a package")
def test_encode_package(benchmark: BenchmarkFixture) -> None:
    assert benchmark(sgp32.encode, _PACKAGE)


@pytest.mark.benchmark(group="write a package")
def test_asn1tools_package(benchmark: BenchmarkFixture) -> None:
    octets = sgp32.encode(_PACKAGE)
    value = own().decode("EuiccPackageSigned", octets)
    assert benchmark(own().encode, "EuiccPackageSigned", value) == octets
