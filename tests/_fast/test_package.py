"""eim._fast.package against its slow twin, octet for octet."""

import sys
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eim._fast import ecdsa, package
from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import Disable, EcoList, Enable, EuiccPackageRequest, ListEim, ListProfileInfo, PsmoList
from tests.reference import package as twin
from tests.reference.compilers import own

Item = tuple[bytes, int, bytes | None, int | None, bytes]
Case = tuple[bytes, int, bytes | None, int | None, PsmoList | EcoList]

SIGNATURE: Final = bytes(range(64))
LISTING: Final = PsmoList((ListProfileInfo(),))
EDGES: Final = (0, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 0x7FFFFF, 2**31 - 1, 2**31, 2**63 - 1)
NATIVE: Final = pytest.mark.skipif(not ecdsa.available(), reason="no libcrypto on this machine")

NUMBERS: Final = st.one_of(
    st.sampled_from([*EDGES, *(-n - 1 for n in EDGES)]), st.integers(0, 8_388_607), st.integers(-(2**63), 2**63 - 1)
)
ICCIDS: Final = st.binary(min_size=10, max_size=10)
CONTENTS: Final = st.one_of(
    st.lists(
        st.one_of(st.builds(Enable, ICCIDS, st.booleans()), st.builds(Disable, ICCIDS)), min_size=1, max_size=40
    ).map(lambda items: PsmoList(tuple(items))),
    st.builds(lambda tags: PsmoList((ListProfileInfo(tags=tags),)), st.binary(min_size=1, max_size=70_000)),
    st.just(EcoList((ListEim(),))),
)
CASES: Final = st.tuples(
    st.binary(min_size=16, max_size=16),
    NUMBERS,
    st.none() | st.binary(min_size=1, max_size=16),
    st.none() | NUMBERS,
    CONTENTS,
)


def items(cases: Sequence[Case]) -> list[Item]:
    return [(eid, counter, name, token, sgp32.encode(asked)) for eid, counter, name, token, asked in cases]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=128), st.lists(CASES, max_size=4))
@example("e" * 127, [(bytes(16), 0x7FFFFF, None, -1, LISTING)])
@example("e" * 128, [(bytes(16), 0x800000, bytes(16), 2**31, LISTING)])
def test_packages_are_those_of_the_twin(eim_id: str, cases: list[Case]) -> None:
    signed: list[bytes] = []

    def sign(tbs: bytes) -> bytes:
        signed.append(tbs)
        return SIGNATURE

    made = package.seal_each(sign, eim_id.encode(), items(cases))
    expected = [twin.assemble((eim_id, eid, token), asked, n, name) for eid, n, name, token, asked in cases]
    assert signed == [each.tbs for each in expected]
    assert made == [twin.seal(each, SIGNATURE) for each in expected]


@NATIVE
@settings(max_examples=100, deadline=None)
@given(st.text(max_size=128), st.lists(CASES, min_size=1, max_size=4), st.sampled_from([ecdsa.P256, ecdsa.BRAINPOOL]))
def test_a_batch_is_the_twins_with_signatures_that_hold(eim_id: str, cases: list[Case], curve: int) -> None:
    private = ec.derive_private_key(7, ec.SECP256R1() if curve == ecdsa.P256 else ec.BrainpoolP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    key = ecdsa.SigningKey(curve, (7).to_bytes(32, "big"))
    made = package.seal_batch(key, eim_id.encode(), items(cases))
    expected = [twin.assemble((eim_id, eid, token), asked, n, name) for eid, n, name, token, asked in cases]
    signatures = [octets[-64:] for octets in made]
    assert made == [twin.seal(each, sign) for each, sign in zip(expected, signatures, strict=True)]
    digests = b"".join([sha256(each.tbs).digest() for each in expected])
    assert ecdsa.verify_batch(curve, point * len(made), digests, b"".join(signatures)) == b"\x01" * len(made)
    assert len({each[:32] for each in signatures}) == len(made), "no number is used twice"


@pytest.mark.parametrize("counter", [n for n in EDGES if n <= 0x7FFFFF])
def test_the_referee_reads_what_is_made(counter: int) -> None:
    (made,) = package.seal_each(
        lambda _: SIGNATURE, b"eim.example.com", items([(bytes(16), counter, b"t", 1, LISTING)])
    )
    read = sgp32.decode(EuiccPackageRequest, made)
    assert (read.package.counter, read.signature) == (counter, SIGNATURE)
    assert own().decode("EuiccPackageRequest", made)["euiccPackageSigned"]["counterValue"] == counter


@pytest.mark.parametrize("size", [1, 100, 127, 128, 254, 255, 256, 65_535, 65_536])
def test_lengths_are_as_short_as_can_be(size: int) -> None:
    """Both the outer lengths and the eimId's pass each border where one more octet is needed."""
    contents = der.wrap(0xA0, bytes(size))
    for eim_id in (b"", bytes(size)):
        (made,) = package.seal_each(lambda _: SIGNATURE, eim_id, [(bytes(16), 1, None, None, contents)])
        inside = der.wrap(0x80, eim_id) + der.wrap(0x5A, bytes(16)) + b"\x81\x01\x01" + contents
        assert made == der.wrap(0xBF51, der.wrap(0x30, inside) + der.wrap(0x5F37, SIGNATURE))


SOUND: Final[Item] = (bytes(16), 1, None, None, sgp32.encode(LISTING))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ((bytes(15), 1, None, None, SOUND[4]), ValueError),
        ((bytes(17), 1, None, None, SOUND[4]), ValueError),
        ((bytes(16), 1, b"", None, SOUND[4]), ValueError),
        ((bytes(16), 1, bytes(17), None, SOUND[4]), ValueError),
        ((bytes(16), 1, None, None, b""), ValueError),
        ((bytes(16), 1, None, None, bytes(2**20 + 1)), ValueError),
        ((bytes(16), 2**63, None, None, SOUND[4]), OverflowError),
        ((bytes(16), 1, None, -(2**63) - 1, SOUND[4]), OverflowError),
        ((None, 1, None, None, SOUND[4]), ValueError),
        ((bytes(16), 1, None, None, None), ValueError),
        ((bytes(16), None, None, None, SOUND[4]), TypeError),
        ((bytes(16), 1, "name", None, SOUND[4]), TypeError),
        (("e" * 16, 1, None, None, SOUND[4]), TypeError),
        ((bytes(16), 1, None, None), ValueError),
        (None, ValueError),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_is_signed(bad: Item, error: type[Exception]) -> None:
    signed: list[bytes] = []

    def sign(tbs: bytes) -> bytes:
        signed.append(tbs)
        return SIGNATURE

    with pytest.raises(error):
        package.seal_each(sign, b"eim", [SOUND, bad])
    assert signed == []
    if ecdsa.available():
        with pytest.raises(error):
            package.seal_batch(ecdsa.SigningKey(ecdsa.P256, bytes(31) + b"\x07"), b"eim", [SOUND, bad])


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65)])
def test_only_a_raw_signature_seals(signature: bytes) -> None:
    with pytest.raises(ValueError, match="64"):
        package.seal_each(lambda _: signature, b"eim", [SOUND])


def test_what_goes_wrong_in_signing_is_told_as_it_is() -> None:
    def sign(tbs: bytes) -> bytes:
        raise PermissionError(len(tbs))

    with pytest.raises(PermissionError):
        package.seal_each(sign, b"eim", [SOUND])


@NATIVE
def test_no_reference_is_kept() -> None:
    contents, eid = sgp32.encode(LISTING), bytes(range(16))
    before = sys.getrefcount(contents), sys.getrefcount(eid)
    key = ecdsa.SigningKey(ecdsa.P256, bytes(31) + b"\x07")
    for _ in range(50):
        package.seal_batch(key, b"eim", [(eid, 1, None, None, contents)] * 20)
    assert (sys.getrefcount(contents), sys.getrefcount(eid)) == before


def test_an_empty_batch_makes_nothing() -> None:
    assert package.seal_each(lambda _: SIGNATURE, b"eim", []) == []
