"""What an IPA tells about its eUICC on request: IpaEuiccData (SGP.32 sections 2.11.1.2, 2.11.2.2)."""

import msgspec

from eim.asn1.results import PackageResult


class IpaEuiccDataRequest(msgspec.Struct, frozen=True):
    """BF52 on its way to the IPA. Unsigned; the eUICC does not see it."""

    tag_list: bytes
    ci_key_id: bytes | None = None
    notification_seq: int | None = None  # at most one of the next two, and of `all_results`
    notification_events: bytes | None = None  # content of the BIT STRING: unused bits, then the bits
    result_seq: int | None = None  # since v1.1
    transaction_id: bytes | None = None  # since v1.1
    all_results: bool = False  # v1.0.1 only: A1 82 00


class IpaCapabilities(msgspec.Struct, frozen=True):
    """Bit numbers (SGP.32 section 4.1): features 0 direct, 1 indirect, 2 download data ..; protocols 0 https, 1 coaps .."""

    features: frozenset[int]
    protocols: frozenset[int] | None = None


class IpaEuiccData(msgspec.Struct, frozen=True):
    """Nothing here is signed, except what is inside the results, notifications and certificates."""

    notifications: tuple[bytes, ...] = ()  # PendingNotification TLVs
    default_smdp: str | None = None
    results: tuple[PackageResult, ...] = ()
    info1: bytes | None = None  # the BF20 TLV
    info2: bytes | None = None  # the BF22 TLV
    root_smds: str | None = None
    association_token: int | None = None
    eum_certificate: bytes | None = None  # X.509 with its outer 30
    euicc_certificate: bytes | None = None
    transaction_id: bytes | None = None
    capabilities: IpaCapabilities | None = None
    device_info: bytes | None = None  # the A9 TLV
    iot_versions: tuple[bytes, ...] = ()  # read from info2: SGP.32 versions, 3 octets each
    ci_keys_signing: tuple[bytes, ...] = ()  # read from info1 or info2: CI keys the eUICC can sign under


class DataResponse(msgspec.Struct, frozen=True):
    data: IpaEuiccData
    raw: bytes = b""  # the whole BF52


class DataError(msgspec.Struct, frozen=True):
    code: int  # 1 incorrectTagList, 5 euiccCiPKIdNotFound, 104 ecallActive, 127
    transaction_id: bytes | None = None
    raw: bytes = b""
