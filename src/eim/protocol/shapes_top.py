"""All that can be named without knowing what is around it: where reading a message begins."""

from typing import Final

from eim.protocol.shapes import (
    BOOLEAN,
    CERTIFICATE,
    CHALLENGE,
    EID,
    MATCHING_ID,
    NULL,
    NUMBER,
    OCTETS,
    OID,
    PUBLIC_KEY,
    TEXT,
    Shape,
    Signature,
    bits,
    codes,
    group,
    one_of,
    tags,
)
from eim.protocol.shapes_esep import (
    ADD_EIM_ERRORS,
    CONFIGURATION,
    ECO,
    ERROR_DATA,
    LIST_PROFILES,
    PACKAGE_RESULT,
    PACKAGE_SIGNED,
    PROFILES_RESULT,
    PSMO,
    RESULT_DATA,
    RESULTS,
)
from eim.protocol.shapes_esipa import CRITERIA, MESSAGES, RETRIEVED, WITH_NOTIFICATIONS
from eim.protocol.shapes_rsp import (
    AUTHENTICATE_SERVER,
    BOUND_PROFILE_PACKAGE,
    COMPACT_INSTALLATION,
    COMPACT_OTHER,
    DEVICE_INFO,
    EVENTS,
    INFO1,
    INFO2,
    INSTALLATION_RESULT,
    METADATA,
    OTHER_SIGNED,
    PREPARE_DOWNLOAD,
    PROFILE,
    SERVER_SIGNED1,
    STORE_METADATA,
    UNDEFINED,
)
from eim.protocol.shapes_rsp import RESULT_DATA as INSTALLATION_DATA

_ADD_INITIAL: Final = one_of(
    (
        "addInitialEimRequest",
        group((0xA0, "eimConfigurationDataList", group((0x30, "eimConfigurationData", CONFIGURATION)))),
    ),
    (
        "addInitialEimResponse",
        group(
            (0xA0, "addInitialEimOk", group((0x84, "associationToken", NUMBER), (0x05, "addOk", NULL))),
            (0x81, "addInitialEimError", codes(ADD_EIM_ERRORS)),
        ),
    ),
)
_CERTIFICATES: Final = group((0xA5, "eumCertificate", CERTIFICATE), (0xA6, "euiccCertificate", CERTIFICATE))
_ROLLBACK: Final = codes({0: "ok", 1: "rollbackNotAllowed", 5: "catBusy", 7: "commandError", **UNDEFINED})
_STATUS: Final = codes({0: "ok", 1: "nothingToDelete", **UNDEFINED})

_RESETS: Final = bits(
    (
        *("deleteOperationalProfiles", "deleteFieldLoadedTestProfiles", "resetDefaultSmdpAddress"),
        *("deletePreLoadedTestProfiles", "deleteProvisioningProfiles", "resetEimConfigData"),
        "resetImmediateEnableConfig",
    )
)
_RESET_CODES: Final = {0: "ok", 1: "nothingToDelete", **UNDEFINED}
_RESET: Final = one_of(
    ("euiccMemoryResetRequest", group((0x82, "resetOptions", _RESETS))),
    (
        "euiccMemoryResetResponse",
        group(
            (
                0x80,
                "resetResult",
                codes({0: "ok", 1: "nothingToDelete", 5: "catBusy", 104: "ecallActive", **UNDEFINED}),
            ),
            (0x81, "resetEimResult", codes(_RESET_CODES | {2: "eimResetNotSupported"})),
            (0x82, "resetImmediateEnableConfigResult", codes({0: "ok", 1: "resetIECNotSupported", **UNDEFINED})),
        ),
    ),
)
_IMMEDIATE: Final = one_of(
    (
        "immediateEnableResponse",
        group(
            (
                0x80,
                "immediateEnableResult",
                codes({0: "ok", 1: "immediateEnableNotAvailable", 4: "noSessionContext", 5: "catBusy", **UNDEFINED}),
            )
        ),
    ),
    ("immediateEnableRequest", group((0x80, "refreshFlag", BOOLEAN))),
)
_IMMEDIATE_ERRORS: Final = {0: "ok", 1: "insufficientMemory", 2: "associatedEimAlreadyExists", **UNDEFINED}
_CONFIGURE_IMMEDIATE: Final = one_of(
    (
        "configureImmediateProfileEnablingRequest",
        group((0x80, "immediateEnableFlag", NULL), (0x81, "defaultSmdpOid", OID), (0x82, "defaultSmdpAddress", TEXT)),
    ),
    (
        "configureImmediateProfileEnablingResponse",
        group((0x80, "configImmediateEnableResult", codes(_IMMEDIATE_ERRORS))),
    ),
)

_ES10: Final[tuple[tuple[int, str, Shape], ...]] = (
    (
        0xBF28,
        "listNotification",
        group(
            (0x81, "profileManagementOperation", EVENTS),
            (0xA0, "list", group((0xBF2F, "notificationMetadata", METADATA))),
        ),
    ),
    (
        0xBF2B,
        "retrieveNotificationsList",
        one_of(
            ("retrieveNotificationsListResponse", RETRIEVED),
            ("retrieveNotificationsListRequest", group((0xA0, "searchCriteria", CRITERIA))),
        ),
    ),
    (0xBF2E, "getEuiccChallenge", group((0x80, "euiccChallenge", CHALLENGE))),
    (
        0xBF30,
        "notificationSent",
        one_of(
            ("notificationSentRequest", group((0x80, "seqNumber", NUMBER))),
            ("notificationSentResponse", group((0x80, "deleteNotificationStatus", _STATUS))),
        ),
    ),
    (0xBF3C, "euiccConfiguredAddresses", group((0x80, "defaultDpAddress", TEXT), (0x81, "rootDsAddress", TEXT))),
    (0xBF3E, "getEuiccData", group((0x5C, "tagList", tags({0x5A: "eidValue"})), (0x5A, "eidValue", EID))),
    (
        0xBF55,
        "getEimConfigurationData",
        one_of(
            (
                "getEimConfigurationDataResponse",
                group((0xA0, "eimConfigurationDataList", group((0x30, "eimConfigurationData", CONFIGURATION)))),
            ),
            ("getEimConfigurationDataRequest", group((0xA0, "searchCriteria", group((0x80, "eimId", TEXT))))),
        ),
    ),
    (
        0xBF56,
        "getCerts",
        group(
            (0x80, "euiccCiPKId", OCTETS),
            (0xA0, "certs", _CERTIFICATES),
            (0x81, "getCertsError", codes({1: "invalidCiPKId", **UNDEFINED})),
        ),
    ),
    (0xBF57, "addInitialEim", _ADD_INITIAL),
    (
        0xBF58,
        "profileRollback",
        group(
            (0x80, "refreshFlag", BOOLEAN),
            (0x01, "refreshFlag", BOOLEAN),
            (0x02, "cmdResult", _ROLLBACK),
            (0xBF51, "eUICCPackageResult", PACKAGE_RESULT),
        ),
    ),
    (0xBF59, "configureImmediateProfileEnabling", _CONFIGURE_IMMEDIATE),
    (0xBF5A, "immediateEnable", _IMMEDIATE),
    (0xBF64, "euiccMemoryReset", _RESET),
    (0xBF34, "euiccMemoryReset (v1.0.1)", _RESET),
    (
        0xBF65,
        "setDefaultDpAddress",
        one_of(
            ("setDefaultDpAddress", group((0x80, "defaultDpAddress", TEXT))),
            ("setDefaultDpAddressResult", group((0x80, "setDefaultDpAddressResult", codes({0: "ok", **UNDEFINED})))),
        ),
    ),
)

_RSP: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0xBF20, "euiccInfo1", INFO1),
    (0xBF21, "prepareDownloadResponse", PREPARE_DOWNLOAD),
    (0xBF22, "euiccInfo2", INFO2),
    (0xBF25, "storeMetadataRequest", STORE_METADATA),
    (0xBF27, "profileInstallationResultData", INSTALLATION_DATA),
    (0xBF2D, "listProfileInfo", one_of(("listProfileInfo", LIST_PROFILES), ("listProfileInfoResult", PROFILES_RESULT))),
    (0xBF2F, "notificationMetadata", METADATA),
    (0xBF36, "boundProfilePackage", BOUND_PROFILE_PACKAGE),
    (0xBF37, "profileInstallationResult", INSTALLATION_RESULT),
    (0xBF38, "authenticateServerResponse", AUTHENTICATE_SERVER),
    (0xE3, "profileInfo", PROFILE),
)

# What may stand alone only because somebody cut it out of a message.
_SEQUENCES: Final = one_of(
    ("eimConfigurationData", CONFIGURATION),
    ("euiccPackageSigned", PACKAGE_SIGNED),
    ("euiccPackageResultDataSigned", RESULT_DATA),
    ("euiccPackageErrorDataSigned", ERROR_DATA),
    ("ePRAndNotifications", WITH_NOTIFICATIONS),
    ("otherSignedNotification", OTHER_SIGNED),
    ("certificate", CERTIFICATE),
    ("subjectPublicKeyInfo", PUBLIC_KEY),
    ("serverSigned1", SERVER_SIGNED1),
)
_A0: Final = one_of(
    ("psmoList", group(*PSMO)),
    (
        "ctxParams1: ctxParamsForCommonAuthentication",
        group((0x80, "matchingId", MATCHING_ID), (0xA1, "deviceInfo", DEVICE_INFO)),
    ),
    ("compactProfileInstallationResult", COMPACT_INSTALLATION),
)
_A1: Final = one_of(("ecoList", group(*ECO)), ("compactOtherSignedNotification", COMPACT_OTHER))


def _pieces() -> tuple[tuple[int, str, Shape], ...]:
    """Operations and results by themselves; where a tag is both, what leaves the least unexplained is meant."""
    by_tag: dict[int, list[tuple[str, Shape]]] = {}
    taken = {tag for tag, _, _ in (*MESSAGES, *_RSP, *_ES10)}
    for tag, name, shape in (*RESULTS, *PSMO, *ECO):
        if tag not in taken:
            by_tag.setdefault(tag, []).append((name, shape))
    return tuple((tag, found[0][0], one_of(*found)) for tag, found in by_tag.items())


TOP: Final = group(
    *MESSAGES,
    *_RSP,
    *_ES10,
    *_pieces(),
    (0x30, "sequence", _SEQUENCES),
    (0xA0, "list", _A0),
    (0xA1, "list", _A1),
    (0x5F37, "signature", Signature(over="what stood before it in its message")),
    (0x5A, "eidValue", EID),
)
