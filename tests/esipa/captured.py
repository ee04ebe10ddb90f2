"""The captures of another IPA and another eIM, with what each needs to be replayed against us."""

from pathlib import Path
from typing import Final

import msgspec

from eim.asn1.sgp32 import DataResponse
from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.protocol.certificates import Who, parse
from eim.protocol.esipa import Provided, receive
from eim.services.seeding import Out, Seed
from tests.protocol import captures

_BESIDE: Final = Path(__file__).parents[3] / "shared" / "data"
FOLDER: Final = _BESIDE / "esipa-captures" if (_BESIDE / "esipa-captures").is_dir() else captures.FOLDER
CI: Final = _BESIDE / "sgp26" / "v1.5-nist" / "CERT_CI_ECDSA_NIST.der"  # the root of the card's certificates
EID: Final = Eid(bytes.fromhex("89049032123451234512345678901235"))
TOKEN: Final = 1


def body(name: str) -> bytes:
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text())


def numbered(number: int, direction: str) -> bytes:
    (found,) = FOLDER.glob(f"{number:02}-*.{direction}.hex")
    return bytes.fromhex(found.read_text())


def certificates() -> tuple[bytes, bytes]:
    """Those of the eUICC and of its EUM, as result 41 carries them."""
    received = receive(numbered(41, "request"))
    assert isinstance(received, Provided)
    assert isinstance(received.payload, DataResponse)
    data = received.payload.data
    assert data.euicc_certificate is not None
    assert data.eum_certificate is not None
    return data.euicc_certificate, data.eum_certificate


def seed(out: Out | None = None, *, unverifiable: bool = False) -> Seed:
    """The card of the captures: its certificates where their root is at hand, otherwise the key in them."""
    known = seed_by_key(out, unverifiable=unverifiable)
    return msgspec.structs.replace(known, certificates=certificates(), public_key=None) if CI.exists() else known


def seed_by_key(out: Out | None = None, *, unverifiable: bool = False) -> Seed:
    """The card of the captures, for a server without their root."""
    key = parse(certificates()[0], Who.EUICC).public_key
    return Seed(EID, public_key=key, association_token=TOKEN, speaks=Speaks.V1_0_1, unverifiable=unverifiable, out=out)


def out(answer: bytes) -> Out | None:
    """The package in the captured answer to a poll, for what it says; None when there was none, or a BF54."""
    inner = answer[answer.index(b"\xbf", 1) :]
    return Out(answer) if inner[:2] in (b"\xbf\x51", b"\xbf\x52") else None
