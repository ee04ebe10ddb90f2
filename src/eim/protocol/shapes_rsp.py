"""Names and values of the messages of SGP.22 that ESipa carries, and of the data objects both standards share."""

from typing import Final

from eim.protocol.shapes import (
    BOOLEAN,
    CERTIFICATE,
    CHALLENGE,
    EID,
    HASHED_CODE,
    ICCID,
    MATCHING_ID,
    NULL,
    NUMBER,
    OCTETS,
    OID,
    PLMN,
    TEXT,
    TRANSACTION,
    VERSION,
    Group,
    Shape,
    Signature,
    bits,
    codes,
    group,
    one_of,
)

UNDEFINED: Final = {127: "undefinedError"}
_EVENTS: Final = (
    "notificationInstall",
    "notificationEnable",
    "notificationDisable",
    "notificationDelete",
)
EVENTS: Final = bits(_EVENTS)
PPR_IDS: Final = bits(("pprUpdateControl", "ppr1", "ppr2"))
_VERSIONS: Final = group((0x04, "versionType", VERSION))
_KEY_IDS: Final = group((0x04, "subjectKeyIdentifier", OCTETS))

_UICC: Final = bits(
    (
        *("contactlessSupport", "usimSupport", "isimSupport", "csimSupport", "akaMilenage", "akaCave", "akaTuak128"),
        *("akaTuak256", "usimTestAlgorithm", "rfu2", "gbaAuthenUsim", "gbaAuthenISim", "mbmsAuthenUsim", "eapClient"),
        *("javacard", "multos", "multipleUsimSupport", "multipleIsimSupport", "multipleCsimSupport"),
        *("berTlvFileSupport", "dfLinkSupport", "catTp", "getIdentity", "profile-a-x25519", "profile-b-p256"),
        *("suciCalculatorApi", "dns-resolution", "scp11ac", "scp11c-authorization-mechanism", "s16mode", "eaka"),
        "iotminimal",
    )
)
_RSP: Final = bits(
    {
        **dict(
            enumerate(
                (
                    *("additionalProfile", "crlSupport", "rpmSupport", "testProfileSupport"),
                    *("deviceInfoExtensibilitySupport", "serviceSpecificDataSupport"),
                )
            )
        ),
        19: "osUpdateSupport",
        26: "iotSpecificMetadataSupport",
        27: "mslCheckSupport",
        28: "rspServerTestProfileAllowlistCheckSupport",
    }
)

INFO1: Final = group(
    (0x82, "svn", VERSION),
    (0xA9, "euiccCiPKIdListForVerification", _KEY_IDS),
    (0xAA, "euiccCiPKIdListForSigning", _KEY_IDS),
)
_IOT: Final = group(
    (0xA0, "iotVersion", _VERSIONS),
    (0x81, "ecallSupported", NULL),
    (0x82, "fallbackSupported", NULL),
    (0x83, "fallbackAllowedUpdateSupported", NULL),
)
INFO2: Final = group(
    (0x81, "profileVersion", VERSION),
    (0x82, "svn", VERSION),
    (0x83, "euiccFirmwareVer", VERSION),
    (0x84, "extCardResource", OCTETS),
    (0x85, "uiccCapability", _UICC),
    (0x86, "ts102241Version", VERSION),
    (0x87, "globalplatformVersion", VERSION),
    (0x88, "rspCapability", _RSP),
    (0xA9, "euiccCiPKIdListForVerification", _KEY_IDS),
    (0xAA, "euiccCiPKIdListForSigning", _KEY_IDS),
    (0x8B, "euiccCategory", codes({0: "other", 1: "basicEuicc", 2: "mediumEuicc", 3: "contactlessEuicc"})),
    (0x99, "forbiddenProfilePolicyRules", PPR_IDS),
    (0x04, "ppVersion", VERSION),
    (0x0C, "sasAcreditationNumber", TEXT),
    (0xAC, "certificationDataObject", group((0x80, "platformLabel", TEXT), (0x81, "discoveryBaseURL", TEXT))),
    (0x8D, "treProperties", bits(("isDiscrete", "isIntegrated", "usesRemoteMemory"))),
    (0x8E, "treProductReference", TEXT),
    (0xAF, "additionalEuiccProfilePackageVersions", _VERSIONS),
    (0x90, "ipaMode", codes({0: "ipad", 1: "ipae"})),
    (0xB1, "euiccCiPKIdListForSigningV3", _KEY_IDS),
    (0x92, "additionalEuiccInfo", OCTETS),
    (0x93, "highestSvn", VERSION),
    (0xB4, "iotSpecificInfo", _IOT),
    (0x95, "euiccMinimumSecurityLevel", OCTETS),
)

_CAPABILITIES: Final = group(
    (0x80, "gsmSupportedRelease", VERSION),
    (0x81, "utranSupportedRelease", VERSION),
    (0x82, "cdma2000onexSupportedRelease", VERSION),
    (0x83, "cdma2000hrpdSupportedRelease", VERSION),
    (0x84, "cdma2000ehrpdSupportedRelease", VERSION),
    (0x85, "eutranEpcSupportedRelease", VERSION),
    (0x86, "contactlessSupportedRelease", VERSION),
    (0x87, "rspCrlSupportedVersion", VERSION),
    (0x88, "nrEpcSupportedRelease", VERSION),
    (0x89, "nr5gcSupportedRelease", VERSION),
    (0x8A, "eutran5gcSupportedRelease", VERSION),
    (0x8B, "lpaSvn", VERSION),
    (0xAC, "catSupportedClasses", OCTETS),
    (0x8C, "catSupportedClasses", OCTETS),
    (0x8D, "euiccFormFactorType", NUMBER),
    (0xAE, "deviceAdditionalFeatureSupport", OCTETS),
)
DEVICE_INFO: Final = group((0x80, "tac", OCTETS), (0xA1, "deviceCapabilities", _CAPABILITIES), (0x82, "imei", OCTETS))
_COMMON: Final = group((0x80, "matchingId", MATCHING_ID), (0xA1, "deviceInfo", DEVICE_INFO))
CTX_PARAMS1: Final = group((0xA0, "ctxParamsForCommonAuthentication", _COMMON))

METADATA: Final = group(
    (0x80, "seqNumber", NUMBER),
    (0x81, "profileManagementOperation", EVENTS),
    (0x0C, "notificationAddress", TEXT),
    (0x5A, "iccid", ICCID),
)
_BPP_COMMAND: Final = codes(
    dict(
        enumerate(
            (
                *("initialiseSecureChannel", "configureISDP", "storeMetadata", "storeMetadata2"),
                *("replaceSessionKeys", "loadProfileElements"),
            )
        )
    )
)
INSTALL_ERRORS: Final = {
    1: "incorrectInputValues",
    2: "invalidSignature",
    3: "invalidTransactionId",
    4: "unsupportedCrtValues",
    5: "unsupportedRemoteOperationType",
    6: "unsupportedProfileClass",
    7: "scp03tStructureError",
    8: "scp03tSecurityError",
    9: "installFailedDueToIccidAlreadyExistsOnEuicc",
    10: "installFailedDueToInsufficientMemoryForProfile",
    11: "installFailedDueToInterruption",
    12: "installFailedDueToPEProcessingError",
    13: "installFailedDueToDataMismatch",
    14: "testProfileInstallFailedDueToInvalidNaaKey",
    15: "pprNotAllowed",
    31: "installFailedDueToInsufficientMinimumSecurityLevel",
    32: "installFailedDueToServerAddressAbsentInEuiccAllowList",
    127: "installFailedDueToUnknownError",
}
_FAILED: Final = group(
    (0x80, "bppCommandId", _BPP_COMMAND), (0x81, "errorReason", codes(INSTALL_ERRORS)), (0x82, "simaResponse", OCTETS)
)
_INSTALLED: Final = group((0x4F, "aid", OCTETS), (0x04, "simaResponse", OCTETS))
_FINAL: Final = group((0xA0, "successResult", _INSTALLED), (0xA1, "errorResult", _FAILED))
RESULT_DATA: Final = group(
    (0x80, "transactionId", TRANSACTION),
    (0xBF2F, "notificationMetadata", METADATA),
    (0x06, "smdpOid", OID),
    (0xA2, "finalResult", _FINAL),
)
INSTALLATION_RESULT: Final = group(
    (0xBF27, "profileInstallationResultData", RESULT_DATA), (0x5F37, "euiccSignPIR", Signature())
)
OTHER_SIGNED: Final = group(
    (0xBF2F, "tbsOtherNotification", METADATA),
    (0x5F37, "euiccNotificationSignature", Signature()),
    (0x30, "euiccCertificate", CERTIFICATE),
    (0x30, "eumCertificate", CERTIFICATE),
)
_COMPACT_RESULT: Final = group(
    (0x80, "transactionId", TRANSACTION),
    (0x02, "seqNumber", NUMBER),
    (0x01, "iccidPresent", BOOLEAN),
    (
        0xA2,
        "compactFinalResult",
        group(
            (0xA0, "compactSuccessResult", group((0x4F, "compactAid", OCTETS), (0x04, "simaResponse", OCTETS))),
            (0xA1, "errorResult", _FAILED),
        ),
    ),
)
COMPACT_INSTALLATION: Final = group(
    (0xA0, "compactProfileInstallationResultData", _COMPACT_RESULT),
    (0x5F37, "euiccSignPIR", Signature(over="the full ProfileInstallationResultData (BF27), which the eIM rebuilds")),
)
COMPACT_OTHER: Final = group(
    (0x5A, "eidValue", EID),
    (0xBF2F, "tbsOtherNotification", METADATA),
    (0x5F37, "euiccNotificationSignature", Signature()),
    (0x04, "euiccCiPKIdentifierToBeUsed", OCTETS),
)
NOTIFICATION: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0xBF37, "profileInstallationResult", INSTALLATION_RESULT),
    (0x30, "otherSignedNotification", OTHER_SIGNED),
    (0xA0, "compactProfileInstallationResult", COMPACT_INSTALLATION),
    (0xA1, "compactOtherSignedNotification", COMPACT_OTHER),
)
NOTIFICATIONS: Final = group(*NOTIFICATION)

OPERATOR: Final = group((0x80, "mccMnc", PLMN), (0x81, "gid1", OCTETS), (0x82, "gid2", OCTETS))
# A rule for all operators names them EEEEEE: no PLMN, so the octets are shown.
_ANY_OPERATOR: Final = group(
    (0x80, "mccMnc", one_of(("", PLMN), ("", OCTETS))), (0x81, "gid1", OCTETS), (0x82, "gid2", OCTETS)
)
_CONFIGURATION: Final = group((0x80, "profileManagementOperation", EVENTS), (0x81, "notificationAddress", TEXT))
_ABOUT: Final[tuple[tuple[int, str, Shape], ...]] = (
    (0x5A, "iccid", ICCID),
    (0x91, "serviceProviderName", TEXT),
    (0x92, "profileName", TEXT),
    (0x93, "iconType", codes({0: "jpg", 1: "png"})),
    (0x94, "icon", OCTETS),
    (0x95, "profileClass", codes({0: "test", 1: "provisioning", 2: "operational"})),
    (
        0xB6,
        "notificationConfigurationInfo",
        group((0x30, "notificationConfigurationInformation", _CONFIGURATION)),
    ),
    (0xB7, "profileOwner", _ANY_OPERATOR),
    (0x99, "profilePolicyRules", PPR_IDS),
    (0xBF22, "serviceSpecificDataStoredInEuicc", OCTETS),
    (0x9F7B, "ecallIndication", BOOLEAN),
    (0x9F67, "fallbackAllowed", BOOLEAN),
)
PROFILE: Final = group(
    *_ABOUT,
    (0x4F, "isdpAid", OCTETS),
    (0x9F70, "profileState", codes({0: "disabled", 1: "enabled"})),
    (0x90, "profileNickname", TEXT),
    (0xB8, "dpProprietaryData", group((0x80, "dpOid", OID))),
    (0x9F26, "fallbackAttribute", BOOLEAN),
    (0xBF64, "iotSpecificProfileInfo", OCTETS),
)
STORE_METADATA: Final = group(
    *_ABOUT, (0xBF23, "serviceSpecificDataNotStoredInEuicc", OCTETS), (0xBF64, "iotSpecificMetadata", OCTETS)
)
_RULE: Final = group(
    (0x80, "pprIds", PPR_IDS),
    (0xA1, "allowedOperators", group((0x30, "operatorId", _ANY_OPERATOR))),
    (0x82, "pprFlags", bits(("consentRequired",))),
)
RULES: Final = group((0x30, "profilePolicyAuthorisationRule", _RULE))

SERVER_SIGNED1: Final = group(
    (0x80, "transactionId", TRANSACTION),
    (0x81, "euiccChallenge", CHALLENGE),
    (0x83, "serverAddress", TEXT),
    (0x84, "serverChallenge", CHALLENGE),
)
_EUICC_SIGNED1: Final = group(
    (0x80, "transactionId", TRANSACTION),
    (0x83, "serverAddress", TEXT),
    (0x84, "serverChallenge", CHALLENGE),
    (0xBF22, "euiccInfo2", INFO2),
    (0xA0, "ctxParams1: ctxParamsForCommonAuthentication", _COMMON),
)
_AUTHENTICATE_ERRORS: Final = {
    1: "invalidCertificate",
    2: "invalidSignature",
    3: "unsupportedCurve",
    4: "noSessionContext",
    5: "invalidOid",
    6: "euiccChallengeMismatch",
    7: "ciPKUnknown",
    **UNDEFINED,
}
_COMPACT_SIGNED1: Final = group((0x84, "extCardResource", OCTETS), (0xA2, "ctxParams1", CTX_PARAMS1))
AUTHENTICATE_SERVER: Final = group(
    (
        0xA0,
        "authenticateResponseOk",
        group(
            (0x30, "euiccSigned1", _EUICC_SIGNED1),
            (0x5F37, "euiccSignature1", Signature()),
            (0x30, "euiccCertificate", CERTIFICATE),
            (0x30, "eumCertificate", CERTIFICATE),
        ),
    ),
    (
        0xA1,
        "authenticateResponseError",
        group((0x80, "transactionId", TRANSACTION), (0x02, "authenticateErrorCode", codes(_AUTHENTICATE_ERRORS))),
    ),
    (
        0xA2,
        "compactAuthenticateResponseOk",
        group(
            (0x30, "euiccSigned1", _EUICC_SIGNED1),
            (0xA0, "compactEuiccSigned1", _COMPACT_SIGNED1),
            (0x5F37, "euiccSignature1", Signature(over="the full euiccSigned1, which the eIM rebuilds")),
            (0xA1, "euiccCertificate", CERTIFICATE),
            (0xA2, "eumCertificate", CERTIFICATE),
        ),
    ),
)
SMDP_SIGNED2: Final = group(
    (0x80, "transactionId", TRANSACTION), (0x01, "ccRequiredFlag", BOOLEAN), (0x5F49, "bppEuiccOtpk", OCTETS)
)
_EUICC_SIGNED2: Final = group(
    (0x80, "transactionId", TRANSACTION), (0x5F49, "euiccOtpk", OCTETS), (0x04, "hashCc", HASHED_CODE)
)
_DOWNLOAD_ERRORS: Final = {number: _AUTHENTICATE_ERRORS[number] for number in (1, 2, 3, 4, 127)} | {
    5: "invalidTransactionId"
}
_BEFORE: Final = "smdpSignature2, from the answer before"
PREPARE_DOWNLOAD: Final = group(
    (
        0xA0,
        "downloadResponseOk",
        group((0x30, "euiccSigned2", _EUICC_SIGNED2), (0x5F37, "euiccSignature2", Signature(_BEFORE))),
    ),
    (
        0xA1,
        "downloadResponseError",
        group((0x80, "transactionId", TRANSACTION), (0x02, "downloadErrorCode", codes(_DOWNLOAD_ERRORS))),
    ),
    (
        0xA2,
        "compactDownloadResponseOk",
        group(
            (0x30, "compactEuiccSigned2", _EUICC_SIGNED2),
            (0x5F37, "euiccSignature2", Signature(over="the full euiccSigned2, which the eIM rebuilds")),
        ),
    ),
)
_CANCEL_REASON: Final = codes(
    {
        0: "endUserRejection",
        1: "postponed",
        2: "timeout",
        3: "pprNotAllowed",
        4: "metadataMismatch",
        5: "loadBppExecutionError",
        127: "undefinedReason",
    }
)
_CANCEL_SIGNED: Final = group(
    (0x80, "transactionId", TRANSACTION), (0x81, "smdpOid", OID), (0x82, "reason", _CANCEL_REASON)
)
_CANCEL_COMPACT: Final = group((0x80, "reason", _CANCEL_REASON))
CANCEL_SESSION: Final[Group] = group(
    (
        0xA0,
        "cancelSessionResponseOk",
        group((0x30, "euiccCancelSessionSigned", _CANCEL_SIGNED), (0x5F37, "euiccCancelSessionSignature", Signature())),
    ),
    (0x81, "cancelSessionResponseError", codes({5: "invalidTransactionId", **UNDEFINED})),
    (
        0xA2,
        "compactCancelSessionResponseOk",
        group(
            (0x30, "compactEuiccCancelSessionSigned", _CANCEL_COMPACT),
            (0x5F37, "euiccCancelSessionSignature", Signature(over="the full structure, which the eIM rebuilds")),
        ),
    ),
)
_CONTROL: Final = group((0x80, "keyType", OCTETS), (0x81, "keyLen", OCTETS), (0x84, "hostId", OCTETS))
_SECURE_CHANNEL: Final = group(
    (0x82, "remoteOpId", codes({1: "installBoundProfilePackage"})),
    (0x80, "transactionId", TRANSACTION),
    (0xA6, "controlRefTemplate", _CONTROL),
    (0x5F49, "smdpOtpk", OCTETS),
    (0x5F37, "smdpSign", Signature(over="remoteOpId .. smdpOtpk without BF23, then euiccOtpk, not transmitted")),
)
BOUND_PROFILE_PACKAGE: Final = group(
    (0xBF23, "initialiseSecureChannelRequest", _SECURE_CHANNEL),
    (0xA0, "firstSequenceOf87", group((0x87, "ConfigureISDP, protected", OCTETS))),
    (0xA1, "sequenceOf88", group((0x88, "StoreMetadata, protected", OCTETS))),
    (0xA2, "secondSequenceOf87", group((0x87, "ReplaceSessionKeys, protected", OCTETS))),
    (0xA3, "sequenceOf86", group((0x86, "profile element data, protected", OCTETS))),
)
