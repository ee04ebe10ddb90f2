"""SGP.32 on the wire, v1.2 with the deviations of v1.0.1 to v1.3 peers read as well.

`encode` writes strict DER. `decode` reads one complete TLV; `Malformed` is all it raises.
"""

from typing import TypeVar

import msgspec

from eim.asn1.data import DataError, DataResponse, IpaCapabilities, IpaEuiccData, IpaEuiccDataRequest
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
)
from eim.asn1.rsp import NotificationMetadata, PendingNotification

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
    "UnsetFallbackAttribute",
    "UpdateEim",
    "decode",
    "decode_package_result",
    "encode",
]

T = TypeVar("T", bound=msgspec.Struct)


def encode(value: msgspec.Struct) -> bytes:
    """The complete TLV of `value`, DER."""
    raise NotImplementedError(type(value).__name__)


def decode(cls: type[T], octets: bytes) -> T:
    """The value of the complete TLV `octets`. Raises Malformed for anything else, octets behind it included."""
    raise NotImplementedError(cls.__name__)


def decode_package_result(octets: bytes) -> PackageResult:
    """The result or error in a BF51 TLV that came from an eUICC."""
    raise NotImplementedError
