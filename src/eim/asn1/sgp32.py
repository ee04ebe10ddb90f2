"""SGP.32 on the wire, v1.2 with the deviations of v1.0.1 to v1.3 peers read as well.

`encode` writes strict DER. `decode` reads one complete TLV; `Malformed` is all it raises.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from eim.asn1 import data, der, esipa, package_results, packages, results, rsp
from eim.asn1.data import (
    DataError,
    DataResponse,
    IpaCapabilities,
    IpaEuiccData,
    IpaEuiccDataRequest,
    encode_data_v1_0_1,
)
from eim.asn1.esipa import (
    Carrier,
    Envelope,
    GetEimPackageRequest,
    GetEimPackageRequestV101,
    HandleNotification,
    Payload,
    ProvideEimPackageResult,
    ResponseError,
    TriggerResult,
)
from eim.asn1.kinds import Integer
from eim.asn1.packages import (
    AddEim,
    AddInitialEimRequest,
    CertificateChoice,
    ConfigureImmediateEnable,
    Delete,
    DeleteEim,
    Disable,
    Eco,
    EcoList,
    EimConfigurationData,
    Enable,
    EuiccPackageRequest,
    EuiccPackageSigned,
    GetRat,
    ListEim,
    ListProfileInfo,
    Psmo,
    PsmoList,
    PublicKeyChoice,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    SpkiChoice,
    UnsetFallbackAttribute,
    UpdateEim,
)
from eim.asn1.results import (
    ErrorData,
    ErrorSigned,
    ErrorUnsigned,
    EuiccResult,
    PackageResult,
    ProfileInfo,
    ResultData,
    ResultSigned,
    Unreadable,
)
from eim.asn1.rsp import NotificationMetadata, PendingNotification
from eim.asn1.schema import Element, Tagged
from eim.errors import Malformed

__all__ = [
    "AddEim",
    "AddInitialEimRequest",
    "Carrier",
    "CertificateChoice",
    "ConfigureImmediateEnable",
    "DataError",
    "DataResponse",
    "Delete",
    "DeleteEim",
    "Disable",
    "Eco",
    "EcoList",
    "EimConfigurationData",
    "Enable",
    "Envelope",
    "ErrorData",
    "ErrorSigned",
    "ErrorUnsigned",
    "EuiccPackageRequest",
    "EuiccPackageSigned",
    "EuiccResult",
    "GetEimPackageRequest",
    "GetEimPackageRequestV101",
    "GetRat",
    "HandleNotification",
    "IpaCapabilities",
    "IpaEuiccData",
    "IpaEuiccDataRequest",
    "ListEim",
    "ListProfileInfo",
    "NotificationMetadata",
    "PackageResult",
    "Payload",
    "PendingNotification",
    "ProfileInfo",
    "ProvideEimPackageResult",
    "Psmo",
    "PsmoList",
    "PublicKeyChoice",
    "ResponseError",
    "ResultData",
    "ResultSigned",
    "SetDefaultDpAddress",
    "SetFallbackAttribute",
    "SpkiChoice",
    "TriggerResult",
    "Unreadable",
    "UnsetFallbackAttribute",
    "UpdateEim",
    "decode",
    "decode_data_response",
    "decode_package_result",
    "decode_result",
    "encode",
    "encode_association_token",
    "encode_data_v1_0_1",
]

T = TypeVar("T", bound=msgspec.Struct)


class _Codec(msgspec.Struct, frozen=True):
    read: Callable[[bytes], object]
    write: Callable[[Any], bytes]


def encode(value: msgspec.Struct) -> bytes:
    """The complete TLV of `value`, DER; `raw` where it has one. A PublicKeyChoice has none by itself."""
    return _CODECS[type(value)].write(value)


def decode(cls: type[T], octets: bytes) -> T:
    """The value of the complete TLV `octets`. Raises Malformed for anything else, octets behind it included."""
    value = _CODECS[cls].read(octets)
    if not isinstance(value, cls):
        raise Malformed(f"that is no {cls.__name__}")
    return value


def decode_package_result(octets: bytes) -> PackageResult:
    """The result or error in a BF51 TLV that came from an eUICC. Raises Malformed."""
    node = der.read_one(octets)
    if node[0] != package_results.TAG:
        raise Malformed(f"tag {node[0]:X} is no package result")
    return package_results.read_package_result(octets, node)


def decode_data_response(octets: bytes) -> DataResponse | DataError:
    """The answer in a BF52 TLV that came from an IPA. Raises Malformed."""
    node = der.read_one(octets)
    if node[0] != data.DATA_TAG:
        raise Malformed(f"tag {node[0]:X} is no data response")
    return data.read_data_response(octets, node)


def decode_result(octets: bytes) -> EuiccResult:
    """One EuiccResultData TLV. Raises Malformed only when it is no TLV."""
    return results.read_result(octets, der.read_one(octets))


def encode_association_token(token: int | None) -> bytes:
    """The data object that both sides sign behind the package or the result; None, no token configured, is zero."""
    return _TOKEN.write(token or 0)


def _decode_trigger_result(octets: bytes) -> TriggerResult:
    node = der.read_one(octets)
    if node[0] != esipa.TRIGGER_TAG:
        raise Malformed(f"tag {node[0]:X} is no trigger result")
    return esipa.read_trigger_result(octets, node)


def _described(element: Element) -> _Codec:
    """The codec of a type that its description says all about."""

    def read(octets: bytes) -> object:
        node = der.read_one(octets)
        if node[0] not in element.tags:
            raise Malformed(f"tag {node[0]:X} at the start, not {element.tags[0]:X}")
        return element.read(octets, node)

    return _Codec(read, element.write)


_TOKEN: Final = Tagged(0x84, Integer())
_PACKAGE_RESULT: Final = _Codec(decode_package_result, package_results.write_package_result)
_DATA_RESPONSE: Final = _Codec(decode_data_response, data.write_data_response)

_CODECS: Final[dict[type, _Codec]] = {
    **{cls: _described(element) for cls, element in packages.PSMO.alternatives.items()},
    **{cls: _described(element) for cls, element in packages.ECO.alternatives.items()},
    **{cls: _described(element) for cls, element in packages.PACKAGE.alternatives.items()},
    EuiccPackageSigned: _described(packages.PACKAGE_SIGNED),
    EuiccPackageRequest: _described(packages.PACKAGE_REQUEST),
    EimConfigurationData: _described(Tagged(der.SEQUENCE, packages.CONFIGURATION)),
    AddInitialEimRequest: _described(packages.ADD_INITIAL_EIM),
    ProfileInfo: _described(results.PROFILE),
    EuiccResult: _Codec(decode_result, results.write_result),
    ResultData: _described(results.RESULT_DATA),
    ErrorData: _described(results.ERROR_DATA),
    ResultSigned: _PACKAGE_RESULT,
    ErrorSigned: _PACKAGE_RESULT,
    ErrorUnsigned: _PACKAGE_RESULT,
    IpaEuiccDataRequest: _described(data.DATA_REQUEST),
    DataResponse: _DATA_RESPONSE,
    DataError: _DATA_RESPONSE,
    NotificationMetadata: _described(rsp.METADATA),
    PendingNotification: _Codec(rsp.read_notification, rsp.write_notification),
    GetEimPackageRequest: _described(esipa.POLL),
    GetEimPackageRequestV101: _described(esipa.POLL_V1_0_1),
    TriggerResult: _Codec(_decode_trigger_result, esipa.write_trigger_result),
    ProvideEimPackageResult: _Codec(esipa.read_provided, esipa.write_provided),
    HandleNotification: _Codec(esipa.read_handled, esipa.write_handled),
}
