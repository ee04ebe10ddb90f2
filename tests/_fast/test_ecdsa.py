"""eim._fast.ecdsa against its slow twin and against `cryptography`, which has an OpenSSL of its own."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from eim._fast import ecdsa
from tests.reference import ecdsa as twin

pytestmark = pytest.mark.skipif(not ecdsa.available(), reason="no libcrypto on this machine")

CURVES: Final = {
    ecdsa.P256: (ec.SECP256R1(), twin.P256),
    ecdsa.BRAINPOOL: (ec.BrainpoolP256R1(), twin.BRAINPOOL),
}
LANES: Final = (ecdsa.P256, ecdsa.BRAINPOOL)
SCALARS: Final = {lane: ec.generate_private_key(CURVES[lane][0]) for lane in LANES}


def signing_key(lane: int) -> ecdsa.SigningKey:
    return ecdsa.SigningKey(lane, SCALARS[lane].private_numbers().private_value.to_bytes(32, "big"))


def point(lane: int) -> bytes:
    return SCALARS[lane].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize("lane", LANES)
def test_what_is_signed_holds_by_the_book(lane: int) -> None:
    digests = os.urandom(32 * 5)
    signatures = ecdsa.sign_batch(signing_key(lane), digests)
    assert len(signatures) == 64 * 5
    for at in range(5):
        digest, signature = digests[at * 32 :][:32], signatures[at * 64 :][:64]
        assert twin.verify(CURVES[lane][1], point(lane), digest, signature)


@pytest.mark.parametrize("lane", LANES)
def test_each_of_a_batch_gets_its_own_verdict(lane: int) -> None:
    digests = os.urandom(32 * 20)
    signatures = bytearray(ecdsa.sign_batch(signing_key(lane), digests))
    for broken in (0, 7, 19):
        signatures[broken * 64 + 40] ^= 1
    verdicts = ecdsa.verify_batch(lane, point(lane) * 20, digests, bytes(signatures))
    assert verdicts == bytes(at not in (0, 7, 19) for at in range(20))


@settings(max_examples=60, deadline=None)
@given(
    lane=st.sampled_from(LANES),
    part=st.sampled_from(["point", "digest", "signature"]),
    at=st.integers(0, 63),
    octet=st.integers(0, 255),
)
def test_broken_input_is_judged_as_by_the_book(lane: int, part: str, at: int, octet: int) -> None:
    digest = bytes(range(32))
    parts = {"point": point(lane), "digest": digest, "signature": ecdsa.sign_batch(signing_key(lane), digest)}
    changed = bytearray(parts[part])
    changed[at % len(changed)] = octet
    parts[part] = bytes(changed)
    found = ecdsa.verify_batch(lane, parts["point"], parts["digest"], parts["signature"]) == b"\x01"
    assert found is twin.verify(CURVES[lane][1], parts["point"], parts["digest"], parts["signature"])
    assert ecdsa.is_on_curve(lane, parts["point"]) is (twin.read_point(CURVES[lane][1], parts["point"]) is not None)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("value", ["zero", "n", "n + 1", "p", "2^256 - 1"])
@pytest.mark.parametrize("half", ["r", "s"])
def test_numbers_outside_the_group_never_hold(lane: int, value: str, half: str) -> None:
    curve = CURVES[lane][1]
    number = {"zero": 0, "n": curve.n, "n + 1": curve.n + 1, "p": curve.p, "2^256 - 1": 2**256 - 1}[value]
    sound = ecdsa.sign_batch(signing_key(lane), bytes(32))
    octets = number.to_bytes(32, "big")
    forged = octets + sound[32:] if half == "r" else sound[:32] + octets
    assert ecdsa.verify_batch(lane, point(lane), bytes(32), forged) == b"\x00"


@pytest.mark.parametrize(
    ("points", "digests", "signatures"), [(65, 31, 64), (64, 32, 64), (65, 32, 63), (130, 32, 64), (0, 32, 64)]
)
def test_lengths_that_do_not_fit_together_are_refused(points: int, digests: int, signatures: int) -> None:
    with pytest.raises(ValueError, match="65 octets"):
        ecdsa.verify_batch(ecdsa.P256, bytes(points), bytes(digests), bytes(signatures))


def test_an_empty_batch_has_no_verdicts() -> None:
    assert ecdsa.verify_batch(ecdsa.P256, b"", b"", b"") == b""
    assert ecdsa.sign_batch(signing_key(ecdsa.P256), b"") == b""


@pytest.mark.parametrize("threads", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("lane", LANES)
def test_each_of_a_batch_gets_its_own_verdict_in_any_number_of_threads(lane: int, threads: int) -> None:
    many = 70
    messages = [os.urandom(at) for at in range(many)]
    signatures = bytearray(ecdsa.sign_messages(signing_key(lane), messages, threads))
    for broken in (0, 35, 69):
        signatures[broken * 64 + 9] ^= 1
    verdicts = ecdsa.verify_messages(lane, point(lane) * many, messages, bytes(signatures), threads)
    assert verdicts == bytes(at not in (0, 35, 69) for at in range(many))


def test_messages_are_hashed_by_sha_256() -> None:
    messages = [bytes(at) for at in (0, 1, 55, 56, 63, 64, 65, 1000)]
    digests = b"".join(hashlib.sha256(message).digest() for message in messages)
    points = point(ecdsa.P256) * len(messages)
    for signatures in (
        ecdsa.sign_messages(signing_key(ecdsa.P256), messages),
        ecdsa.sign_batch(signing_key(ecdsa.P256), digests),
    ):
        assert ecdsa.verify_batch(ecdsa.P256, points, digests, signatures) == bytes([1]) * len(messages)
        assert ecdsa.verify_messages(ecdsa.P256, points, messages, signatures) == bytes([1]) * len(messages)


@pytest.mark.parametrize("message", [None, "text", bytearray(3), 5])
def test_what_is_no_message_is_refused(message: Any) -> None:
    with pytest.raises(TypeError):
        ecdsa.sign_messages(signing_key(ecdsa.P256), [message])
    with pytest.raises(TypeError):
        ecdsa.verify_messages(ecdsa.P256, point(ecdsa.P256), [message], bytes(64))


def test_callers_in_eight_threads_share_a_key_and_each_batch_goes_to_two_more() -> None:
    key, messages = signing_key(ecdsa.P256), [os.urandom(100) for _ in range(64)]

    def there_and_back(_: int) -> bool:
        signatures = ecdsa.sign_messages(key, messages, 2)
        return ecdsa.verify_messages(ecdsa.P256, point(ecdsa.P256) * 64, messages, signatures, 2) == bytes([1]) * 64

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(24)))


_FORKED_AFTER_THREADS: Final = """
import os
from eim._fast import ecdsa
key = ecdsa.SigningKey(ecdsa.P256, bytes(31) + b"\\x07")
assert len(ecdsa.sign_messages(key, [b"message"] * 64, 2)) == 64 * 64
child = os.fork()
if child == 0:
    os._exit(0 if len(ecdsa.sign_messages(key, [b"message"] * 64, 2)) == 64 * 64 else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(
    "EIM_SANITIZED" in os.environ, reason="a thread that starts in a fork waits for the sanitizer's locks"
)
def test_a_process_that_forks_after_a_batch_in_threads_goes_on_in_both() -> None:
    subprocess.run([sys.executable, "-c", _FORKED_AFTER_THREADS], check=True, timeout=60)


@pytest.mark.parametrize("scalar", [bytes(32), twin.P256.n.to_bytes(32, "big"), b"\xff" * 32, bytes(31)])
def test_octets_that_are_no_private_key_are_refused(scalar: bytes) -> None:
    with pytest.raises(ValueError, match="key"):
        ecdsa.SigningKey(ecdsa.P256, scalar)


def test_a_signing_key_shows_nothing_of_itself() -> None:
    assert repr(signing_key(ecdsa.P256)) == "SigningKey(...)"


_FORKED: Final = """
import os, sys
from eim._fast import ecdsa
key = ecdsa.SigningKey(ecdsa.P256, bytes(31) + b"\\x07")
ecdsa.sign_batch(key, bytes(32))
if os.fork() == 0:
    sys.stdout.write(ecdsa.sign_batch(key, bytes(32) * 100).hex())
    sys.stdout.flush()
    os._exit(0)
os.wait()
sys.stdout.write(ecdsa.sign_batch(key, bytes(32) * 100).hex())
"""


def test_no_number_is_used_twice_not_even_after_a_fork() -> None:
    made = bytes.fromhex(
        subprocess.run([sys.executable, "-c", _FORKED], capture_output=True, check=True).stdout.decode()
    )
    assert len(made) == 200 * 64
    assert len({made[at : at + 32] for at in range(0, len(made), 64)}) == 200


@pytest.mark.slow
def test_no_number_is_used_twice_in_a_million_signatures() -> None:
    key, seen = signing_key(ecdsa.P256), set()
    for _ in range(1000):
        made = ecdsa.sign_batch(key, bytes(32) * 1000)
        seen |= {made[at : at + 32] for at in range(0, len(made), 64)}
    assert len(seen) == 1_000_000
