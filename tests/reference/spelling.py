"""Our values in the words of the notation, as asn1tools takes them. Written without the codec, to judge it."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from eim.asn1 import sgp32
from eim.asn1.sgp32 import (
    AddEim,
    CertificateChoice,
    ConfigureImmediateEnable,
    DataError,
    DeleteEim,
    EimConfigurationData,
    Enable,
    ErrorSigned,
    ErrorUnsigned,
    ListEim,
    ListProfileInfo,
    PublicKeyChoice,
    ResultSigned,
    SetDefaultDpAddress,
    UpdateEim,
)

_PSMOS: Final = {
    "Disable": "disable",
    "Delete": "delete",
    "GetRat": "getRAT",
    "SetFallbackAttribute": "setFallbackAttribute",
    "UnsetFallbackAttribute": "unsetFallbackAttribute",
}
_CODES: Final = {
    "enable": "enableResult",
    "disable": "disableResult",
    "delete": "deleteResult",
    "configureImmediateEnable": "configureImmediateEnableResult",
    "deleteEim": "deleteEimResult",
    "updateEim": "updateEimResult",
    "rollback": "rollbackResult",
    "setFallbackAttribute": "setFallbackAttributeResult",
    "unsetFallbackAttribute": "unsetFallbackAttributeResult",
    "processingTerminated": "processingTerminated",
}


def without_none(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def bits(numbers: frozenset[int] | None) -> tuple[bytes, int] | None:
    if numbers is None:
        return None
    size = max(numbers) + 1 if numbers else 0
    text = "".join("1" if bit in numbers else "0" for bit in range(size)).ljust((size + 7) // 8 * 8, "0")
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)), size


def key(compiler: Any, choice: PublicKeyChoice | None) -> Any:
    if choice is None:
        return None
    if isinstance(choice, CertificateChoice):
        return "cert", compiler.decode("Cert", choice.der)
    return "key", compiler.decode("Key", choice.der)


def configuration(compiler: Any, value: EimConfigurationData) -> dict[str, Any]:
    spelled = without_none(
        eimId=value.eim_id,
        eimFqdn=value.fqdn,
        eimIdType=value.id_type,
        counterValue=value.counter,
        associationToken=value.association_token,
        eimPublicKeyData=key(compiler, value.public_key),
        trustedPublicKeyDataTls=key(compiler, value.tls_trust),
        eimSupportedProtocol=bits(value.protocols),
        euiccCiPKId=value.ci_key_id,
    )
    return spelled | ({"indirectProfileDownload": None} if value.indirect_download else {})


def psmo(value: sgp32.Psmo) -> tuple[str, dict[str, Any]]:
    match value:
        case Enable():
            return "enable", {"iccid": value.iccid} | ({"rollbackFlag": None} if value.rollback else {})
        case ListProfileInfo():
            criteria = [
                (name, member)
                for name, member in (
                    ("isdpAid", value.aid),
                    ("iccid", value.iccid),
                    ("profileClass", value.profile_class),
                )
                if member is not None
            ]
            return "listProfileInfo", without_none(searchCriteria=criteria[0] if criteria else None, tagList=value.tags)
        case ConfigureImmediateEnable():
            spelled = without_none(defaultSmdpOid=value.smdp_oid, defaultSmdpAddress=value.smdp_address)
            return "configureImmediateEnable", spelled | ({"immediateEnableFlag": None} if value.flag else {})
        case SetDefaultDpAddress():
            return "setDefaultDpAddress", {"defaultDpAddress": value.address}
    return _PSMOS[type(value).__name__], without_none(iccid=getattr(value, "iccid", None))


def eco(compiler: Any, value: sgp32.Eco) -> tuple[str, dict[str, Any]]:
    match value:
        case AddEim():
            return "addEim", configuration(compiler, value.config)
        case UpdateEim():
            return "updateEim", configuration(compiler, value.config)
        case DeleteEim():
            return "deleteEim", {"eimId": value.eim_id}
        case ListEim():
            return "listEim", {}


def package_signed(compiler: Any, value: sgp32.EuiccPackageSigned) -> dict[str, Any]:
    package: tuple[str, list[Any]]
    if isinstance(value.package, sgp32.PsmoList):
        package = "psmoList", [psmo(item) for item in value.package.items]
    else:
        package = "ecoList", [eco(compiler, item) for item in value.package.items]
    return without_none(
        eimId=value.eim_id,
        eidValue=value.eid,
        counterValue=value.counter,
        eimTransactionId=value.transaction_id,
        euiccPackage=package,
    )


def package_request(compiler: Any, value: sgp32.EuiccPackageRequest) -> dict[str, Any]:
    return {"euiccPackageSigned": package_signed(compiler, value.package), "eimSignature": value.signature}


def add_initial_eim(compiler: Any, value: sgp32.AddInitialEimRequest) -> dict[str, Any]:
    return {"eimConfigurationDataList": [configuration(compiler, config) for config in value.configs]}


def data_request(_: Any, value: sgp32.IpaEuiccDataRequest) -> dict[str, Any]:
    criteria: Any = None
    if value.notification_seq is not None:
        criteria = "seqNumber", value.notification_seq
    elif value.notification_events is not None:
        criteria = "profileManagementOperation", (value.notification_events[1:], 4)
    elif value.all_results:
        criteria = "euiccPackageResults", None
    return without_none(
        tagList=value.tag_list,
        euiccCiPKIdentifierToBeUsed=value.ci_key_id,
        searchCriteriaNotification=criteria,
        searchCriteriaEuiccPackageResult=None if value.result_seq is None else ("seqNumber", value.result_seq),
        eimTransactionId=value.transaction_id,
    )


def profile(value: sgp32.ProfileInfo) -> dict[str, Any]:
    return without_none(
        iccid=value.iccid,
        isdpAid=value.isdp_aid,
        profileState=value.state,
        profileNickname=value.nickname,
        serviceProviderName=value.service_provider,
        profileName=value.name,
        profileClass=value.profile_class,
        profilePolicyRules=None if value.ppr is None else (value.ppr[1:], 3),
        fallbackAttribute=value.fallback,
        fallbackAllowed=value.fallback_allowed,
    )


def result(value: sgp32.EuiccResult) -> tuple[str, Any]:
    match value.kind:
        case "listProfileInfo" if value.profiles is not None:
            return "listProfileInfoResult", ("profileInfoListOk", [profile(item) for item in value.profiles])
        case "listProfileInfo":
            return "listProfileInfoResult", ("profileInfoListError", value.code)
        case "addEim" if value.association_token is not None:
            return "addEimResult", ("associationToken", value.association_token)
        case "addEim":
            return "addEimResult", ("addEimResultCode", value.code)
        case "listEim" if value.eims is not None:
            eims = [without_none(eimId=eim_id, eimIdType=id_type) for eim_id, id_type in value.eims]
            return "listEimResult", ("eimIdList", eims)
        case "listEim":
            return "listEimResult", ("listEimError", value.code)
        case "setDefaultDpAddress":
            return "setDefaultDpAddressResult", {"setDefaultDpAddressResult": value.code}
        case "getRAT":
            return "getRATResult", []
    return _CODES[value.kind], value.code


def result_data(_: Any, value: sgp32.ResultData) -> dict[str, Any]:
    return without_none(
        eimId=value.eim_id,
        counterValue=value.counter,
        eimTransactionId=value.transaction_id,
        seqNumber=value.seq_number,
        euiccResult=[result(item) for item in value.results],
    )


def error_data(_: Any, value: sgp32.ErrorData) -> dict[str, Any]:
    return without_none(
        eimId=value.eim_id,
        counterValue=value.counter,
        eimTransactionId=value.transaction_id,
        euiccPackageErrorCode=value.code,
    )


def package_result(compiler: Any, value: sgp32.PackageResult) -> tuple[str, dict[str, Any]]:
    match value:
        case ResultSigned():
            data = result_data(compiler, value.data)
            spelled = {"euiccPackageResultDataSigned": data, "euiccSignEPR": value.signature}
            return "euiccPackageResultSigned", spelled
        case ErrorSigned():
            error = error_data(compiler, value.data)
            return "euiccPackageErrorSigned", {"euiccPackageErrorDataSigned": error, "euiccSignEPE": value.signature}
        case ErrorUnsigned():
            return "euiccPackageErrorUnsigned", without_none(
                eimId=value.eim_id,
                eimTransactionId=value.transaction_id,
                associationToken=value.association_token,
                euiccPackageUnsignedErrorCode=value.code,
            )


def notification(compiler: Any, octets: bytes) -> Any:
    return compiler.decode("PendingNotification", octets)


def metadata(_: Any, value: sgp32.NotificationMetadata) -> dict[str, Any]:
    return without_none(
        seqNumber=value.seq_number,
        profileManagementOperation=bits(value.events),
        notificationAddress=value.address,
        iccid=value.iccid,
    )


def data_response(compiler: Any, value: sgp32.DataResponse | sgp32.DataError) -> tuple[str, dict[str, Any]]:
    if isinstance(value, DataError):
        spelled = without_none(eimTransactionId=value.transaction_id, ipaEuiccDataErrorCode=value.code)
        return "ipaEuiccDataResponseError", spelled
    data = value.data
    capabilities = data.capabilities and without_none(
        ipaFeatures=bits(data.capabilities.features), ipaSupportedProtocols=bits(data.capabilities.protocols)
    )
    return "ipaEuiccData", without_none(
        notificationsList=[notification(compiler, octets) for octets in data.notifications] or None,
        defaultSmdpAddress=data.default_smdp,
        euiccPackageResultList=[package_result(compiler, item) for item in data.results] or None,
        euiccInfo1=data.info1 and compiler.decode("IpaEuiccData", _listed(data.info1))["euiccInfo1"],
        rootSmdsAddress=data.root_smds,
        associationToken=data.association_token,
        eumCertificate=data.eum_certificate and compiler.decode("Cert", data.eum_certificate),
        euiccCertificate=data.euicc_certificate and compiler.decode("Cert", data.euicc_certificate),
        eimTransactionId=data.transaction_id,
        ipaCapabilities=capabilities,
    )


def _listed(info: bytes) -> bytes:
    return b"\x30" + bytes((len(info),)) + info


def poll(_: Any, value: sgp32.GetEimPackageRequest) -> dict[str, Any]:
    spelled = without_none(eidValue=value.eid, stateChangeCause=value.cause, rPLMN=value.plmn)
    return spelled | ({"notifyStateChange": None} if value.state_change else {})


def payload(compiler: Any, value: sgp32.Payload) -> tuple[str, Any]:
    match value:
        case ResultSigned() | ErrorSigned() | ErrorUnsigned():
            return "euiccPackageResult", package_result(compiler, value)
        case sgp32.DataResponse() | DataError():
            return "ipaEuiccDataResponse", data_response(compiler, value)
        case sgp32.TriggerResult():
            spelled = without_none(eimTransactionId=value.transaction_id)
            reason = {"profileDownloadErrorReason": value.reason}
            return "profileDownloadTriggerResult", spelled | {"profileDownloadTriggerResultData": reason}
        case sgp32.ResponseError():
            spelled = without_none(eimTransactionId=value.transaction_id, eimPackageResultErrorCode=value.code)
            return "eimPackageResultResponseError", spelled
        case sgp32.Unreadable():
            raise ValueError("the notation has no words for it")


def provided(compiler: Any, value: sgp32.ProvideEimPackageResult) -> dict[str, Any]:
    alternative = payload(compiler, value.payload)
    if value.envelope is sgp32.Envelope.LIST:
        notifications = [notification(compiler, octets) for octets in value.notifications]
        both = {"euiccPackageResult": alternative[1], "notificationList": notifications}
        alternative = "ePRAndNotifications", both
    return without_none(eidValue=value.eid, eimPackageResult=alternative)


def handled(compiler: Any, value: sgp32.HandleNotification) -> tuple[str, Any]:
    if isinstance(value.content, bytes):
        return "pendingNotification", notification(compiler, value.content)
    return "provideEimPackageResult", provided(compiler, value.content)


Spelling = Callable[[Any, Any], Any]


def bare(value: Any) -> Any:
    """`value` without any `raw`, to compare what was read with what was made."""
    if isinstance(value, msgspec.Struct):
        members = {name: bare(getattr(value, name)) for name in value.__struct_fields__ if name != "raw"}
        return type(value)(**members)
    return tuple(bare(item) for item in value) if isinstance(value, tuple) else value
