"""ESep: the packages an eIM signs for one eUICC, and the results it signs back. Pure (SGP.32 sections 2.11.1, 2.11.2)."""

from collections.abc import Sequence

import msgspec

from eim.asn1.sgp32 import EcoList, ErrorSigned, PsmoList, ResultSigned
from eim.domain.euicc import Association, SignatureCoding, SignatureForm, Speaks
from eim.protocol.ecdsa import PublicKey


class UnsignedPackage(msgspec.Struct, frozen=True):
    """A package waiting for the eIM's signature."""

    signed: bytes  # DER EuiccPackageSigned, byte for byte as it will travel
    tbs: bytes  # `signed`, then the associationToken object (tag 84)


class SearchCriteria(msgspec.Struct, frozen=True):
    """Which notifications and stored results a data request asks for; without any, all of them."""

    ci_key_id: bytes | None = None  # the CI key whose certificates are wanted
    notification_seq: int | None = None
    notification_events: bytes | None = None
    result_seq: int | None = None
    all_results: bool = False  # v1.0.1 only: results in place of notifications


class Candidate(msgspec.Struct, frozen=True):
    """One way in which a result may have been signed."""

    form: SignatureForm
    token: int | None  # for SignatureForm.TOKEN


class Match(msgspec.Struct, frozen=True):
    """The way that verified."""

    form: SignatureForm
    coding: SignatureCoding
    token: int | None


def assemble(
    association: Association, package: PsmoList | EcoList, counter: int, transaction: bytes | None
) -> UnsignedPackage:
    """Encode `package` for one eUICC, ready to be signed."""
    raise NotImplementedError


def seal(unsigned: UnsignedPackage, signature: bytes) -> bytes:
    """The complete BF51 TLV. `signature` is r || s, 64 octets."""
    raise NotImplementedError


def data_request(
    tag_list: bytes | None,
    speaks: Speaks | None,
    transaction: bytes | None,
    criteria: SearchCriteria = SearchCriteria(),
) -> bytes:
    """The complete BF52 TLV; no tag list asks for everything (section 11.1 of the version the device speaks)."""
    raise NotImplementedError


def verify(
    result: ResultSigned | ErrorSigned,
    public_key: PublicKey,
    candidates: Sequence[Candidate],
    request_signature: bytes | None,
) -> Match | None:
    """The first candidate under which the signature holds; None when none does."""
    raise NotImplementedError
