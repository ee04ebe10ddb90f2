"""Names and values of ESipa's messages in both directions (SGP.32 sections 5.14, 6.3)."""

from typing import Final

from eim.protocol.shapes import (
    ACTIVATION_CODE,
    CERTIFICATE,
    CHALLENGE,
    EID,
    HASHED_CODE,
    MATCHING_ID,
    NULL,
    NUMBER,
    OCTETS,
    PLMN,
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
from eim.protocol.shapes_esep import (
    PACKAGE,
    PACKAGE_REQUEST,
    PACKAGE_RESULT,
)
from eim.protocol.shapes_rsp import (
    AUTHENTICATE_SERVER,
    BOUND_PROFILE_PACKAGE,
    CANCEL_SESSION,
    CTX_PARAMS1,
    DEVICE_INFO,
    EVENTS,
    INFO1,
    INFO2,
    INSTALLATION_RESULT,
    NOTIFICATIONS,
    PREPARE_DOWNLOAD,
    SERVER_SIGNED1,
    SMDP_SIGNED2,
    STORE_METADATA,
    UNDEFINED,
)

_CAUSES: Final = codes(
    {
        0: "otherEim",
        1: "fallback",
        2: "emergencyProfile",
        3: "local",
        4: "reset",
        5: "immediateEnableProfile",
        6: "deviceChange",
        127: "undefined",
    }
)
_POLL: Final = group(
    (0x5A, "eidValue", EID),
    (0x80, "notifyStateChange", NULL),
    (0x81, "stateChangeCause", one_of(("rPLMN (v1.0.1)", PLMN), ("stateChangeCause", _CAUSES))),
    (0x82, "rPLMN", PLMN),
)
_EID_ERRORS: Final = {2: "eidNotFound", 3: "invalidEid", 4: "missingEid", **UNDEFINED}

_DATA_TAGS: Final = tags(
    {
        0xA0: "notificationsList",
        0x80: "defaultSmdpAddress (v1.0.1)",
        0x81: "defaultSmdpAddress",
        0xA2: "euiccPackageResultList",
        0xBF20: "euiccInfo1",
        0xBF22: "euiccInfo2",
        0xBF2B: "notificationsList (v1.0.1)",
        0x83: "rootSmdsAddress",
        0x84: "associationToken",
        0xA5: "eumCertificate",
        0xA6: "euiccCertificate",
        0x88: "ipaCapabilities (v1.0.1)",
        0xA8: "ipaCapabilities",
        0xA9: "deviceInfo",
    }
)
CRITERIA: Final = group(
    (0x80, "seqNumber", NUMBER), (0x81, "profileManagementOperation", EVENTS), (0x82, "euiccPackageResults", NULL)
)
_DATA_REQUEST: Final = group(
    (0x5C, "tagList", _DATA_TAGS),
    (0x04, "euiccCiPKIdentifierToBeUsed", OCTETS),
    (0xA1, "searchCriteriaNotification", CRITERIA),
    (0xA2, "searchCriteriaEuiccPackageResult", group((0x80, "seqNumber", NUMBER))),
    (0x83, "eimTransactionId", TRANSACTION),
)
_FEATURES: Final = bits(
    (
        "directRspServerCommunication",
        "indirectRspServerCommunication",
        "eimDownloadDataHandling",
        "eimCtxParams1Generation",
        "eimProfileMetadataVerification",
        "minimizeEsipaBytes",
    ),
    instead=6,
)
_PROTOCOLS: Final = bits(
    ("ipaRetrieveHttps", "ipaRetrieveCoaps", "ipaInjectHttps", "ipaInjectCoaps", "ipaProprietary"), instead=5
)
_CAPABILITIES: Final = group(
    (0x80, "ipaFeatures", _FEATURES),
    (0x81, "ipaSupportedProtocols", _PROTOCOLS),
    (0xA2, "eSipaProprietaryProtocolInformation", OCTETS),
)
_RESULT_LIST: Final = group((0xBF51, "euiccPackageResult", PACKAGE_RESULT))
RETRIEVED: Final = group(
    (0xA0, "notificationList", NOTIFICATIONS),
    (0x81, "notificationsListResultError", codes(UNDEFINED)),
    (0xA2, "euiccPackageResultList", _RESULT_LIST),
    (
        0xA3,
        "notificationAndEprList",
        group((0xA0, "notificationList", NOTIFICATIONS), (0xA1, "euiccPackageResultList", _RESULT_LIST)),
    ),
)
_DATA: Final = group(
    (0xA0, "notificationsList", NOTIFICATIONS),
    (0x80, "defaultSmdpAddress (v1.0.1)", TEXT),
    (0x81, "defaultSmdpAddress", TEXT),
    (0xA2, "euiccPackageResultList", _RESULT_LIST),
    (0xBF2B, "notificationsList (v1.0.1)", RETRIEVED),
    (0xBF20, "euiccInfo1", INFO1),
    (0xBF22, "euiccInfo2", INFO2),
    (0x83, "rootSmdsAddress", TEXT),
    (0x84, "associationToken", NUMBER),
    (0xA5, "eumCertificate", CERTIFICATE),
    (0xA6, "euiccCertificate", CERTIFICATE),
    (0x87, "eimTransactionId", TRANSACTION),
    (0x88, "ipaCapabilities (v1.0.1)", _CAPABILITIES),
    (0xA8, "ipaCapabilities", _CAPABILITIES),
    (0xA9, "deviceInfo", DEVICE_INFO),
)
_DATA_ERROR: Final = codes({1: "incorrectTagList", 5: "euiccCiPKIdNotFound", 104: "ecallActive", **UNDEFINED})
_DATA_RESPONSE: Final = one_of(
    (
        "",
        group(
            (0xA0, "ipaEuiccData", _DATA),
            (0x30, "ipaEuiccData", _DATA),
            (
                0xA1,
                "ipaEuiccDataResponseError",
                group((0x80, "eimTransactionId", TRANSACTION), (0x02, "ipaEuiccDataErrorCode", _DATA_ERROR)),
            ),
            (0x81, "ipaEuiccDataError (v1.0.1)", _DATA_ERROR),
        ),
    ),
    ("", _DATA),
)

_DOWNLOAD_DATA: Final = group(
    (0x80, "activationCode", ACTIVATION_CODE),
    (0x81, "contactDefaultSmdp", NULL),
    (0xA2, "contactSmds", group((0x80, "smdsAddress", TEXT))),
)
_TRIGGER: Final = group((0xA0, "profileDownloadData", _DOWNLOAD_DATA), (0x82, "eimTransactionId", TRANSACTION))
_TRIGGER_ERROR: Final = group(
    (
        0x80,
        "profileDownloadErrorReason",
        one_of(
            ("profileDownloadErrorReason", codes({104: "ecallActive", **UNDEFINED})),
            ("errorResponse (v1.0.1)", OCTETS),
        ),
    ),
    (0x04, "errorResponse", OCTETS),
)
_TRIGGER_RESULT: Final = group(
    (0x82, "eimTransactionId", TRANSACTION),
    (0xBF37, "profileInstallationResult", INSTALLATION_RESULT),
    (0x30, "profileDownloadError", _TRIGGER_ERROR),
)
_ACKNOWLEDGEMENTS: Final = group((0x80, "seqNumber", NUMBER))

WITH_NOTIFICATIONS: Final = group(
    (0xBF51, "euiccPackageResult", PACKAGE_RESULT),
    (0xA0, "notificationList", NOTIFICATIONS),
    (0xBF2B, "notificationList (v1.0.1)", RETRIEVED),
)
_FORMAT_ERRORS: Final = codes({1: "invalidPackageFormat", 2: "unknownPackage", **UNDEFINED})
_RESULT_ERROR: Final = group(
    (0x80, "eimTransactionId", TRANSACTION), (0x02, "eimPackageResultErrorCode", _FORMAT_ERRORS)
)
_PROVIDED: Final = group(
    (0x5A, "eidValue", EID),
    (0xBF51, "euiccPackageResult", PACKAGE_RESULT),
    (0x30, "ePRAndNotifications", WITH_NOTIFICATIONS),
    (0xBF52, "ipaEuiccDataResponse", _DATA_RESPONSE),
    (0xBF54, "profileDownloadTriggerResult", _TRIGGER_RESULT),
    (0xA0, "eimPackageResultResponseError", _RESULT_ERROR),
    (0x02, "eimPackageError (v1.0.1, v1.1)", _FORMAT_ERRORS),
)
_PROVIDE_ANSWER: Final = group(
    (0xBF53, "eimAcknowledgements", _ACKNOWLEDGEMENTS),
    (0x30, "emptyResponse", group()),
    (0x02, "provideEimPackageResultError", codes(_EID_ERRORS)),
)
_POLL_ANSWER: Final = group(
    (0xBF51, "euiccPackageRequest", PACKAGE_REQUEST),
    (0xBF52, "ipaEuiccDataRequest", _DATA_REQUEST),
    (0xBF54, "profileDownloadTriggerRequest", _TRIGGER),
    (0x02, "eimPackageError", codes({1: "noEimPackageAvailable"} | _EID_ERRORS)),
)
_CORRELATED: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0x80, "eimTransactionId", TRANSACTION),
    (0x5A, "eidValue", EID),
)
_TRANSFER: Final = group(
    (0xBF51, "euiccPackageRequest", PACKAGE_REQUEST),
    (0xBF52, "ipaEuiccDataRequest", _DATA_REQUEST),
    (0xBF53, "eimAcknowledgements", _ACKNOWLEDGEMENTS),
    (0xBF54, "profileDownloadTriggerRequest", _TRIGGER),
)
_TRANSFER_ANSWER: Final = group(
    (0xBF51, "euiccPackageResult", PACKAGE_RESULT),
    (0x30, "ePRAndNotifications", WITH_NOTIFICATIONS),
    (0xBF52, "ipaEuiccDataResponse", _DATA_RESPONSE),
    (0x05, "eimPackageReceived", NULL),
    (0xBF60, "eimPackageReceivedWithCid", group(*_CORRELATED)),
    (0x02, "eimPackageError", _FORMAT_ERRORS),
    (0xBF61, "eimPackageErrorWithCid", group(*_CORRELATED, (0x02, "eimPackageError", _FORMAT_ERRORS))),
)

_INITIATE: Final = group(
    (0x81, "euiccChallenge", CHALLENGE),
    (0x83, "smdpAddress", TEXT),
    (0xBF20, "euiccInfo1", INFO1),
    (0x82, "eimTransactionId", TRANSACTION),
)
_INITIATE_OK: Final = group(
    (0x80, "transactionId", TRANSACTION),
    (0x30, "serverSigned1", SERVER_SIGNED1),
    (0x5F37, "serverSignature1", Signature()),
    (0x04, "euiccCiPKIdentifierToBeUsed", OCTETS),
    (0x30, "serverCertificate", CERTIFICATE),
    (0x0C, "matchingId", MATCHING_ID),
    (0xA2, "ctxParams1", CTX_PARAMS1),
)
_INITIATE_ERRORS: Final = {
    1: "invalidDpAddress",
    2: "euiccVersionNotSupportedByDp",
    3: "ciPKIdNotSupported",
    50: "smdpAddressMismatch",
    51: "smdpOidMismatch",
    52: "invalidEimTransactionId",
    **UNDEFINED,
}
_INITIATE_ANSWER: Final = group(
    (0xA0, "initiateAuthenticationOkEsipa", _INITIATE_OK),
    (0x81, "initiateAuthenticationErrorEsipa", codes(_INITIATE_ERRORS)),
)
_AUTHENTICATE: Final = group(
    (0x80, "transactionId", TRANSACTION), (0xBF38, "authenticateServerResponse", AUTHENTICATE_SERVER)
)
_AUTHENTICATE_ERRORS: Final = {
    1: "eumCertificateInvalid",
    2: "eumCertificateExpired",
    3: "euiccCertificateInvalid",
    4: "euiccCertificateExpired",
    5: "euiccSignatureInvalid",
    6: "matchingIdRefused",
    7: "eidMismatch",
    8: "noEligibleProfile",
    9: "ciPKUnknown",
    10: "invalidTransactionId",
    11: "insufficientMemory",
    18: "downloadOrderExpired",
    50: "pprNotAllowed",
    56: "eventIdUnknown",
    **UNDEFINED,
}
_SMDP_OK: Final = group(
    (0x80, "transactionId", TRANSACTION),
    (0xBF25, "profileMetaData", STORE_METADATA),
    (0x30, "smdpSigned2", SMDP_SIGNED2),
    (0x5F37, "smdpSignature2", Signature("euiccSignature1, from the request")),
    (0x30, "smdpCertificate", CERTIFICATE),
    (0x04, "hashCc", HASHED_CODE),
)
_AUTHENTICATE_ANSWER: Final = group(
    (0xA0, "authenticateClientOkDPEsipa", _SMDP_OK),
    (
        0xA1,
        "authenticateClientOkDSEsipa",
        group((0x80, "transactionId", TRANSACTION), (0xBF54, "profileDownloadTrigger", _TRIGGER)),
    ),
    (0x82, "authenticateClientErrorEsipa", codes(_AUTHENTICATE_ERRORS)),
)
_GET_PROFILE: Final = group((0x80, "transactionId", TRANSACTION), (0xBF21, "prepareDownloadResponse", PREPARE_DOWNLOAD))
_GET_PROFILE_ERRORS: Final = {
    1: "euiccSignatureInvalid",
    2: "confirmationCodeMissing",
    3: "confirmationCodeRefused",
    4: "confirmationCodeRetriesExceeded",
    5: "bppRebindingRefused",
    6: "downloadOrderExpired",
    50: "metadataMismatch",
    95: "invalidTransactionId",
    **UNDEFINED,
}
_GET_PROFILE_ANSWER: Final = group(
    (
        0xA0,
        "getBoundProfilePackageOkEsipa",
        group((0x80, "transactionId", TRANSACTION), (0xBF36, "boundProfilePackage", BOUND_PROFILE_PACKAGE)),
    ),
    (0x81, "getBoundProfilePackageErrorEsipa", codes(_GET_PROFILE_ERRORS)),
)
_CANCEL: Final = group((0x80, "transactionId", TRANSACTION), (0xA1, "cancelSessionResponse", CANCEL_SESSION))
_CANCEL_ANSWER: Final = group(
    (0xA0, "cancelSessionOk", group()),
    (0x81, "cancelSessionError", codes({1: "invalidTransactionId", 2: "euiccSignatureInvalid", **UNDEFINED})),
)
_HANDLE: Final = group(
    (0xA0, "pendingNotification", NOTIFICATIONS),
    (0xBF50, "provideEimPackageResult", _PROVIDED),
    (0xA1, "provideEimPackageResult (v1.0.1)", _PROVIDED),
)

MESSAGES: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0xBF4F, "getEimPackage", one_of(("getEimPackageResponse", _POLL_ANSWER), ("getEimPackageRequest", _POLL))),
    (
        0xBF50,
        "provideEimPackageResult",
        one_of(("provideEimPackageResultResponse", _PROVIDE_ANSWER), ("provideEimPackageResult", _PROVIDED)),
    ),
    (0xBF51, "euiccPackage", PACKAGE),
    (
        0xBF52,
        "ipaEuiccData",
        one_of(("ipaEuiccDataRequest", _DATA_REQUEST), ("ipaEuiccDataResponse", _DATA_RESPONSE)),
    ),
    (0xBF53, "eimAcknowledgements", _ACKNOWLEDGEMENTS),
    (
        0xBF54,
        "profileDownloadTrigger",
        one_of(("profileDownloadTriggerRequest", _TRIGGER), ("profileDownloadTriggerResult", _TRIGGER_RESULT)),
    ),
    (
        0xBF39,
        "initiateAuthentication",
        one_of(
            ("initiateAuthenticationRequestEsipa", _INITIATE),
            ("initiateAuthenticationResponseEsipa", _INITIATE_ANSWER),
        ),
    ),
    (
        0xBF3B,
        "authenticateClient",
        one_of(
            ("authenticateClientRequestEsipa", _AUTHENTICATE), ("authenticateClientResponseEsipa", _AUTHENTICATE_ANSWER)
        ),
    ),
    (
        0xBF3A,
        "getBoundProfilePackage",
        one_of(
            ("getBoundProfilePackageRequestEsipa", _GET_PROFILE),
            ("getBoundProfilePackageResponseEsipa", _GET_PROFILE_ANSWER),
        ),
    ),
    (
        0xBF41,
        "cancelSession",
        one_of(
            ("cancelSessionRequestEsipa", _CANCEL),
            ("cancelSessionResponseEsipa", _CANCEL_ANSWER),
            ("cancelSessionResponse", CANCEL_SESSION),
        ),
    ),
    (0xBF3D, "handleNotificationEsipa", _HANDLE),
    (
        0xBF4E,
        "transferEimPackage",
        one_of(("transferEimPackageRequest", _TRANSFER), ("transferEimPackageResponse", _TRANSFER_ANSWER)),
    ),
)
