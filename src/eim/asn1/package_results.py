"""BF51 from an eUICC: which of the three it is, in every shape cards and IPAs give it (SGP.32 section 2.11.2.1)."""

from typing import Final

import msgspec
from msgspec import structs

from eim.asn1 import der
from eim.asn1.der import Node
from eim.asn1.kinds import Octets
from eim.asn1.results import ERROR_DATA, RESULT_DATA, UNSIGNED, ErrorSigned, ErrorUnsigned, PackageResult, ResultSigned
from eim.asn1.schema import Tagged
from eim.errors import Malformed

TAG: Final = 0xBF51
_ARMS: Final = (0xA0, 0xA1, 0xA2, der.SEQUENCE)
_SIGNATURE: Final = Tagged(0x5F37, Octets(1, 128))
_SEQ_NUMBER: Final = 0x83


def read_package_result(data: bytes, node: Node) -> PackageResult:
    """The result or error in the BF51 at `node`.

    It may have its arm (A0, A1, A2), a bare 30 in its place, or the members directly; what it is shows in the members.
    """
    raw = der.whole(data, node)
    held = der.inside(data, der.undouble(data, node))
    while len(held) == 1 and held[0][0] in _ARMS:
        held = der.inside(data, held[0])
    signature = next((child for child in held if child[0] == _SIGNATURE.tag), None)
    if signature is None:
        unsigned: ErrorUnsigned = UNSIGNED.build(data, held)
        return structs.replace(unsigned, raw=raw)
    return _signed(data, held, _SIGNATURE.read(data, signature), raw)


def _signed(data: bytes, held: list[Node], signature: bytes, raw: bytes) -> ResultSigned | ErrorSigned:
    tbs = [child for child in held if child[0] == der.SEQUENCE]
    if len(tbs) != 1:
        raise Malformed(f"{len(tbs)} signed parts under one signature")
    signed = der.whole(data, tbs[0])
    if any(child[0] == _SEQ_NUMBER for child in der.inside(data, tbs[0])):
        return ResultSigned(signed, RESULT_DATA.read(data, tbs[0]), signature, raw)
    return ErrorSigned(signed, ERROR_DATA.read(data, tbs[0]), signature, raw)


def write_package_result(value: PackageResult) -> bytes:
    """The BF51 TLV: `raw` when there is one, else the arm around `signed` as it is."""
    if value.raw:
        return value.raw
    if isinstance(value, ErrorUnsigned):
        return der.wrap(TAG, der.wrap(0xA2, UNSIGNED.write(value)))
    arm = 0xA0 if isinstance(value, ResultSigned) else 0xA1
    return der.wrap(TAG, der.wrap(arm, value.signed + _SIGNATURE.write(value.signature)))


class PackageResultElement(msgspec.Struct, frozen=True):
    """EuiccPackageResult in a description."""

    tags: tuple[int, ...] = (TAG,)

    def read(self, data: bytes, node: Node) -> PackageResult:
        return read_package_result(data, node)

    def write(self, value: PackageResult) -> bytes:
        return write_package_result(value)


PACKAGE_RESULT: Final = PackageResultElement()
