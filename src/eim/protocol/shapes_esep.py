"""Names and values of eUICC Packages and their results, and of eIM Configuration Data (SGP.32 section 2.11)."""

from typing import Final

from eim.protocol.shapes import (
    CERTIFICATE,
    EID,
    ICCID,
    NULL,
    NUMBER,
    OCTETS,
    OID,
    PUBLIC_KEY,
    TEXT,
    TRANSACTION,
    Shape,
    Signature,
    bits,
    codes,
    group,
    one_of,
    tags,
)
from eim.protocol.shapes_rsp import PROFILE, RULES, UNDEFINED

_TOKEN: Final = "associationToken [4] (84 01 00 when none is configured), not transmitted"
_RESULT_TOKEN: Final = f"{_TOKEN}; in v1.0.x eimSignature of the request instead"

PROTOCOLS: Final = bits(("eimRetrieveHttps", "eimRetrieveCoaps", "eimInjectHttps", "eimInjectCoaps", "eimProprietary"))
_KEY: Final = group((0xA0, "subjectPublicKeyInfo", PUBLIC_KEY), (0xA1, "certificate", CERTIFICATE))
_TLS_KEY: Final = group((0xA0, "trustedEimPkTls", PUBLIC_KEY), (0xA1, "trustedCertificateTls", CERTIFICATE))
EIM_ID_TYPE: Final = codes({1: "eimIdTypeOid", 2: "eimIdTypeFqdn", 3: "eimIdTypeProprietary"})
CONFIGURATION: Final = group(
    (0x80, "eimId", TEXT),
    (0x81, "eimFqdn", TEXT),
    (0x82, "eimIdType", EIM_ID_TYPE),
    (0x83, "counterValue", NUMBER),
    (0x84, "associationToken", NUMBER),
    (0xA5, "eimPublicKeyData", _KEY),
    (0xA6, "trustedPublicKeyDataTls", _TLS_KEY),
    (0x87, "eimSupportedProtocol", PROTOCOLS),
    (0x88, "euiccCiPKId", OCTETS),
    (0x89, "indirectProfileDownload", NULL),
    (0xAA, "eSipaProprietaryProtocolInformation", OCTETS),
)

_ICCID: Final = group((0x5A, "iccid", ICCID))
PROFILE_TAGS: Final = {
    0x5A: "iccid",
    0x4F: "isdpAid",
    0x9F70: "profileState",
    0x90: "profileNickname",
    0x91: "serviceProviderName",
    0x92: "profileName",
    0x93: "iconType",
    0x94: "icon",
    0x95: "profileClass",
    0xB6: "notificationConfigurationInfo",
    0xB7: "profileOwner",
    0xB8: "dpProprietaryData",
    0x99: "profilePolicyRules",
    0xBF22: "serviceSpecificDataStoredInEuicc",
    0x9F7B: "ecallIndication",
    0x9F26: "fallbackAttribute",
    0x9F67: "fallbackAllowed",
    0xBF64: "iotSpecificProfileInfo",
}
_SEARCH: Final = group((0x4F, "isdpAid", OCTETS), (0x5A, "iccid", ICCID), (0x95, "profileClass", NUMBER))
LIST_PROFILES: Final = group(
    (0xA0, "searchCriteria", _SEARCH), (0x5C, "tagList", tags(PROFILE_TAGS)), (0x5D, "iotTagList", tags(PROFILE_TAGS))
)
_ADDRESS: Final = group((0x80, "defaultDpAddress", TEXT))
PSMO: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0xA3, "enable", group((0x5A, "iccid", ICCID), (0x05, "rollbackFlag", NULL))),
    (0xA4, "disable", _ICCID),
    (0xA5, "delete", _ICCID),
    (0xBF2D, "listProfileInfo", LIST_PROFILES),
    (0xA6, "getRAT", group()),
    (
        0xA7,
        "configureImmediateEnable",
        group((0x80, "immediateEnableFlag", NULL), (0x81, "defaultSmdpOid", OID), (0x82, "defaultSmdpAddress", TEXT)),
    ),
    (0xA8, "setFallbackAttribute", _ICCID),
    (0xA9, "unsetFallbackAttribute", group()),
    (0xBF65, "setDefaultDpAddress", _ADDRESS),
)
ECO: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0xA8, "addEim", CONFIGURATION),
    (0xA9, "deleteEim", group((0x80, "eimId", TEXT))),
    (0xAA, "updateEim", CONFIGURATION),
    (0xAB, "listEim", group()),
)
PACKAGE_SIGNED: Final = group(
    (0x80, "eimId", TEXT),
    (0x5A, "eidValue", EID),
    (0x81, "counterValue", NUMBER),
    (0x82, "eimTransactionId", TRANSACTION),
    (0xA0, "psmoList", group(*PSMO)),
    (0xA1, "ecoList", group(*ECO)),
)
PACKAGE_REQUEST: Final = group(
    (0x30, "euiccPackageSigned", PACKAGE_SIGNED), (0x5F37, "eimSignature", Signature(_TOKEN))
)

_OK: Final = {0: "ok", **UNDEFINED}
_CHANGE: Final = _OK | {1: "iccidOrAidNotFound", 3: "disallowedByPolicy", 5: "catBusy"}
_EIM: Final = _OK | {7: "commandError"}
ADD_EIM_ERRORS: Final = {
    1: "insufficientMemory",
    2: "associatedEimAlreadyExists",
    3: "ciPKUnknown",
    5: "invalidAssociationToken",
    6: "counterValueOutOfRange",
    7: "commandError",
    **UNDEFINED,
}
_TERMINATED: Final = codes({1: "resultSizeOverflow", 2: "unknownOrDamagedCommand", 3: "interruption", **UNDEFINED})
_PROFILE_LIST: Final = group((0xE3, "profileInfo", PROFILE))
PROFILES_RESULT: Final = group(
    (0xA0, "profileInfoListOk", _PROFILE_LIST),
    (0x30, "profileInfoListOk", _PROFILE_LIST),
    (
        0x81,
        "profileInfoListError",
        codes({1: "incorrectInputValues", 11: "profileChangeOngoing", **UNDEFINED}),
    ),
)
# v1.0.1 has eimIdType at 84.
_EIM_INFO: Final = group((0x80, "eimId", TEXT), (0x82, "eimIdType", EIM_ID_TYPE), (0x84, "eimIdType", EIM_ID_TYPE))
RESULTS: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0x83, "enableResult", codes(_CHANGE | {2: "profileNotInDisabledState", 20: "rollbackNotAvailable"})),
    (0x84, "disableResult", codes(_CHANGE | {2: "profileNotInEnabledState"})),
    (
        0x85,
        "deleteResult",
        codes(_CHANGE | {2: "profileNotInDisabledState", 20: "rollbackNotAvailable", 21: "returnFallbackProfile"}),
    ),
    (0xBF2D, "listProfileInfoResult", PROFILES_RESULT),
    (0xA6, "getRATResult", RULES),
    (0x87, "configureImmediateEnableResult", codes(_EIM | {1: "insufficientMemory"})),
    (
        0xA8,
        "addEimResult",
        group((0x84, "associationToken", NUMBER), (0x02, "addEimResultCode", codes({0: "ok"} | ADD_EIM_ERRORS))),
    ),
    (0x89, "deleteEimResult", codes(_EIM | {1: "eimNotFound", 2: "lastEimDeleted"})),
    (0x8A, "updateEimResult", codes(_EIM | {1: "eimNotFound", 3: "ciPKUnknown", 6: "counterValueOutOfRange"})),
    (
        0xAB,
        "listEimResult",
        group(
            (0xA0, "eimIdList", group((0x30, "eimIdInfo", _EIM_INFO))),
            (0x81, "listEimError", codes(UNDEFINED)),
        ),
    ),
    (0x8C, "rollbackResult", codes(_OK)),
    (
        0x8D,
        "setFallbackAttributeResult",
        codes(_OK | {1: "iccidOrAidNotFound", 2: "fallbackNotAllowed", 3: "fallbackProfileEnabled"}),
    ),
    (
        0x8E,
        "unsetFallbackAttributeResult",
        codes(_EIM | {2: "noFallbackAttribute", 3: "fallbackProfileEnabled"}),
    ),
    (0x02, "processingTerminated", _TERMINATED),
    (0xBF65, "setDefaultDpAddressResult", group((0x80, "setDefaultDpAddressResult", codes(_OK)))),
)
RESULT_DATA: Final = group(
    (0x80, "eimId", TEXT),
    (0x81, "counterValue", NUMBER),
    (0x82, "eimTransactionId", TRANSACTION),
    (0x83, "seqNumber", NUMBER),
    (0x30, "euiccResult", group(*RESULTS)),
)
ERROR_DATA: Final = group(
    (0x80, "eimId", TEXT),
    (0x81, "counterValue", NUMBER),
    (0x82, "eimTransactionId", TRANSACTION),
    (
        0x02,
        "euiccPackageErrorCode",
        codes(
            {
                3: "invalidEid",
                4: "replayError",
                6: "counterValueOutOfRange",
                15: "sizeOverflow",
                104: "ecallActive",
                **UNDEFINED,
            }
        ),
    ),
)
_SIGNED: Final = group(
    (0x30, "euiccPackageResultDataSigned", RESULT_DATA), (0x5F37, "euiccSignEPR", Signature(_RESULT_TOKEN))
)
_ERROR: Final = group(
    (0x30, "euiccPackageErrorDataSigned", ERROR_DATA), (0x5F37, "euiccSignEPE", Signature(_RESULT_TOKEN))
)
_UNSIGNED: Final = group(
    (0x80, "eimId", TEXT),
    (0x82, "eimTransactionId", TRANSACTION),
    (0x84, "associationToken", NUMBER),
    (0x8F, "euiccPackageUnsignedErrorCode", codes({15: "sizeOverflow", **UNDEFINED})),
)
_ARMS: Final = group(
    (0xA0, "euiccPackageResultSigned", _SIGNED),
    (0xA1, "euiccPackageErrorSigned", _ERROR),
    (0xA2, "euiccPackageErrorUnsigned", _UNSIGNED),
)
_NESTED: Final = group((0x30, "euiccPackageResultSigned", one_of(("", _SIGNED), ("", _ERROR))))
# Its arm, or (as some cards send it) what is in the arm alone.
PACKAGE_RESULT: Final = one_of(("", _ARMS), ("", _SIGNED), ("", _ERROR), ("", _NESTED))
PACKAGE: Final = one_of(("euiccPackageRequest", PACKAGE_REQUEST), ("euiccPackageResult", PACKAGE_RESULT))
