"""What a signature costs to make and to verify, in a batch and alone, on both curves, beside `cryptography`."""

import os
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pytest_benchmark.fixture import BenchmarkFixture

from eim._fast import ecdsa

_BATCH: Final = 100
_CURVES: Final = {"P-256": (ecdsa.P256, ec.SECP256R1()), "brainpool": (ecdsa.BRAINPOOL, ec.BrainpoolP256R1())}
_MESSAGE: Final = bytes(110)


class Signed:
    """A key on one curve and what it signed."""

    def __init__(self, name: str) -> None:
        self.curve, kind = _CURVES[name]
        self.private = ec.generate_private_key(kind)
        self.public = self.private.public_key()
        scalar = self.private.private_numbers().private_value.to_bytes(32, "big")
        self.key = ecdsa.SigningKey(self.curve, scalar)
        self.point = self.public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.digests = os.urandom(32 * _BATCH)
        self.signatures = ecdsa.sign_batch(self.key, self.digests)
        self.der = self.private.sign(_MESSAGE, ec.ECDSA(SHA256()))

    def verify(self, many: int) -> bytes:
        return ecdsa.verify_batch(
            self.curve, self.point * many, self.digests[: 32 * many], self.signatures[: 64 * many]
        )


@pytest.fixture(params=_CURVES)
def signed(request: pytest.FixtureRequest) -> Signed:
    if not ecdsa.available():
        pytest.skip("no libcrypto was found")
    return Signed(request.param)


@pytest.mark.benchmark(group="verify one signature")
def test_verify(benchmark: BenchmarkFixture, signed: Signed) -> None:
    assert benchmark(signed.verify, 1) == b"\x01"


@pytest.mark.benchmark(group="verify one signature")
def test_cryptography_verify(benchmark: BenchmarkFixture, signed: Signed) -> None:
    benchmark(signed.public.verify, signed.der, _MESSAGE, ec.ECDSA(SHA256()))


@pytest.mark.benchmark(group="verify a hundred signatures")
def test_verify_batch(benchmark: BenchmarkFixture, signed: Signed) -> None:
    assert benchmark(signed.verify, _BATCH) == b"\x01" * _BATCH


@pytest.mark.benchmark(group="sign once")
def test_sign(benchmark: BenchmarkFixture, signed: Signed) -> None:
    assert len(benchmark(ecdsa.sign_batch, signed.key, signed.digests[:32])) == 64


@pytest.mark.benchmark(group="sign once")
def test_cryptography_sign(benchmark: BenchmarkFixture, signed: Signed) -> None:
    benchmark(signed.private.sign, _MESSAGE, ec.ECDSA(SHA256()))


@pytest.mark.benchmark(group="sign a hundred times")
def test_sign_batch(benchmark: BenchmarkFixture, signed: Signed) -> None:
    assert len(benchmark(ecdsa.sign_batch, signed.key, signed.digests)) == 64 * _BATCH
