"""Results in every spelling that BER has for them: what was signed is verified octet for octet, and never anew."""

from random import Random
from typing import Final

import pytest

from eim._fast import ecdsa as native
from eim.asn1 import der, sgp32
from eim.domain.euicc import SignatureCoding, SignatureForm
from eim.protocol import esep
from eim.protocol.ecdsa import Curve, PublicKey
from eim.protocol.esep import Candidate, Match
from eim.protocol.esipa import Provided, receive
from tests.protocol.test_esep import EUICC_KEY, public, raw_signature
from tests.reference.samples import Samples

KEY: Final[PublicKey] = public(EUICC_KEY)
TOKEN: Final = 7
CANDIDATES: Final = (Candidate(SignatureForm.ZERO, None), Candidate(SignatureForm.TOKEN, TOKEN))
_CONSTRUCTED: Final = 0x20


def respelt(draw: Random, octets: bytes, node: der.Node) -> bytes:
    """The TLV at `node` with the same meaning: lengths of one to four octets, elements that nobody knows between."""
    tag, _, start, end = node
    content = octets[start:end]
    if octets[node[1]] & _CONSTRUCTED:
        parts = [respelt(draw, octets, child) for child in der.inside(octets, node)]
        if tag == der.SEQUENCE and len(parts) > 1 and draw.randrange(2):
            parts.insert(draw.randrange(len(parts) + 1), b"\x9f\x55\x81\x01" + draw.randbytes(1))
        content = b"".join(parts)
    elif tag in (0x81, 0x83) and len(content) < 8:  # an INTEGER, longer than need be
        sign = b"\xff" if content[0] & 0x80 else b"\x00"
        content = sign * draw.randrange(8 - len(content)) + content
    return head(draw, tag, len(content)) + content


def head(draw: Random, tag: int, size: int) -> bytes:
    least = 0 if size < 0x80 else (size.bit_length() + 7) // 8
    count = draw.randint(least, 4)
    length = bytes([size]) if count == 0 else bytes([0x80 | count]) + size.to_bytes(count, "big")
    return tag.to_bytes((tag.bit_length() + 7) // 8, "big") + length


def verified(draw: Random, samples: Samples, many: int) -> int:
    """Send that many results; how many were spelt otherwise than DER has them."""
    scalar = EUICC_KEY.private_numbers().private_value.to_bytes(32, "big")
    signer = native.SigningKey(native.P256, scalar) if native.available() else None
    others = 0
    for _ in range(many):
        canonical = plain_results(samples)
        data = respelt(draw, canonical, der.read_one(canonical))
        tbs = data + sgp32.encode_association_token(TOKEN)
        signature = native.sign_messages(signer, [tbs]) if signer else raw_signature(EUICC_KEY, tbs)
        whole = der.wrap(0xBF50, der.wrap(0xBF51, der.wrap(0xA0, data + b"\x5f\x37\x40" + signature)))
        received = receive(whole)
        assert isinstance(received, Provided)
        result = received.payload
        assert isinstance(result, sgp32.ResultSigned)
        assert result.signed == data
        found = esep.verify(result, KEY, CANDIDATES, None)
        assert found == Match(SignatureForm.TOKEN, SignatureCoding.RAW, TOKEN), whole.hex()
        others += data != sgp32.encode(result.data)
    return others


def plain_results(samples: Samples) -> bytes:
    """A ResultData in which every 81 and 83 is a number."""
    data = samples.result_data()
    code = sgp32.EuiccResult(0x83, "enable", 0)
    return sgp32.encode(sgp32.ResultData(data.eim_id, data.counter, data.transaction_id, data.seq_number, (code,)))


def test_a_thousand_results_that_are_no_der_are_verified_over_their_own_octets() -> None:
    """Reliability 31 at smoke size. The curve is the one of every card that there is."""
    assert KEY.curve is Curve.P256
    assert verified(Random(31), Samples(31), 1_000) > 900


@pytest.mark.slow
def test_ten_thousand_results_that_are_no_der_are_verified_over_their_own_octets() -> None:
    """Reliability 31."""
    assert verified(Random(32), Samples(32), 10_000) > 9_000
