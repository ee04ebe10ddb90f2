"""The hot message against its slow twin and against the general decoder."""

from hypothesis import given, settings
from hypothesis import strategies as st

from eim._fast.esipa import read_poll
from eim.asn1 import sgp32
from eim.asn1.esipa import read_poll as read_general
from eim.asn1.sgp32 import GetEimPackageRequest, GetEimPackageRequestV101
from tests.reference import poll as twin

EIDS = st.binary(min_size=16, max_size=16)
PLMNS = st.none() | st.binary(min_size=3, max_size=3)
NEW = st.builds(GetEimPackageRequest, EIDS, st.booleans(), st.none() | st.integers(0, 200), PLMNS).map(sgp32.encode)
OLD = st.builds(GetEimPackageRequestV101, EIDS, st.booleans(), PLMNS).map(sgp32.encode)
BROKEN = st.builds(
    lambda octets, at, new: octets[: at % len(octets)] + new + octets[at % len(octets) + 1 :],
    NEW | OLD,
    st.integers(0, 40),
    st.binary(max_size=3),
)
OCTETS = (
    NEW | OLD | BROKEN | st.binary(max_size=40) | st.binary(min_size=18, max_size=30).map(lambda b: b"\xbf\x4f" + b)
)


@settings(max_examples=3000, deadline=None)
@given(OCTETS)
def test_the_same_as_its_twin(octets: bytes) -> None:
    assert read_poll(octets) == twin.read_poll(octets)


@settings(max_examples=1000, deadline=None)
@given(OCTETS)
def test_what_it_reads_the_general_decoder_reads_alike(octets: bytes) -> None:
    read = read_poll(octets)
    if read is None:
        return
    eid, state_change, cause, plmn, plmn_tag = read
    general = read_general(octets)
    assert (general.eid, general.state_change, general.plmn) == (eid, state_change, plmn)
    if isinstance(general, GetEimPackageRequestV101):
        assert (cause, plmn_tag) == (-1, 0x81)
    else:
        assert general.cause == (None if cause < 0 else cause)


def test_the_plain_poll_is_read() -> None:
    octets = bytes.fromhex("BF4F1C5A10890490321234512345123456789012358000810101820362F210")
    eid = bytes.fromhex("89049032123451234512345678901235")
    assert read_poll(octets) == (eid, True, 1, b"\x62\xf2\x10", 0x82)
    assert read_poll(bytes.fromhex("BF4F125A10") + eid) == (eid, False, -1, None, 0)


def test_anything_else_is_left_to_the_general_decoder() -> None:
    eid = bytes.fromhex("5A1089049032123451234512345678901235")
    for octets in (
        b"",
        b"\xbf\x4f\x12" + eid[:-1],
        b"\xbf\x4f\x81\x12" + eid,
        b"\xbf\x4f\x15" + eid + b"\x80\x01\x00",
        b"\xbf\x4f\x12" + eid + b"\x00",
        b"\xbf\x50\x12" + eid,
    ):
        assert read_poll(octets) is None
