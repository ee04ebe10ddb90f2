"""Random sound values of the codec's classes, drawn from a seed."""

from pathlib import Path
from random import Random
from typing import Final

from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import (
    AddEim,
    AddInitialEimRequest,
    CertificateChoice,
    ConfigureImmediateEnable,
    DataError,
    DataResponse,
    Delete,
    DeleteEim,
    Disable,
    Eco,
    EcoList,
    EimConfigurationData,
    Enable,
    Envelope,
    ErrorData,
    ErrorSigned,
    ErrorUnsigned,
    EuiccPackageRequest,
    EuiccPackageSigned,
    EuiccResult,
    GetEimPackageRequest,
    GetRat,
    HandleNotification,
    IpaCapabilities,
    IpaEuiccData,
    IpaEuiccDataRequest,
    ListEim,
    ListProfileInfo,
    NotificationMetadata,
    PackageResult,
    Payload,
    PendingNotification,
    ProfileInfo,
    ProvideEimPackageResult,
    Psmo,
    PsmoList,
    PublicKeyChoice,
    ResponseError,
    ResultData,
    ResultSigned,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    SpkiChoice,
    TriggerResult,
    UnsetFallbackAttribute,
    UpdateEim,
)

CAPTURES: Final = Path(__file__).parents[1] / "vectors" / "esipa-captures"
_ANSWERED: Final = sgp32.decode(
    ProvideEimPackageResult, bytes.fromhex((CAPTURES / "41-edr-certs-result.request.hex").read_text())
)
assert isinstance(_ANSWERED.payload, DataResponse)
assert _ANSWERED.payload.data.euicc_certificate is not None
CERTIFICATE: Final = _ANSWERED.payload.data.euicc_certificate  # of the SGP.26 test PKI
_LETTERS: Final = "abcXYZ059.-:/ äß中€😀"


class Samples:
    """Draws values. Integers, lengths and presence vary, and so do the lengths of lengths."""

    def __init__(self, seed: int) -> None:
        self.draw: Final = Random(seed)

    def octets(self, least: int, most: int) -> bytes:
        return self.draw.randbytes(self.draw.randint(least, most))

    def text(self, least: int = 0, most: int = 40) -> str:
        return "".join(self.draw.choices(_LETTERS, k=self.draw.randint(least, most)))

    def integer(self) -> int:
        return self.draw.choice((0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, 8_388_607, 2**62, -(2**63)))

    def maybe(self, drawn: object) -> bool:
        return drawn is not None and self.draw.random() < 0.5

    def bits(self, most: int) -> frozenset[int]:
        return frozenset(bit for bit in range(most) if self.draw.random() < 0.5)

    def transaction(self) -> bytes | None:
        return self.octets(1, 16) if self.draw.random() < 0.7 else None

    def number(self) -> int | None:
        return self.integer() if self.draw.random() < 0.5 else None

    def eid(self) -> bytes:
        return self.draw.randbytes(16)

    def iccid(self) -> bytes:
        return self.draw.randbytes(10)

    def eim_id(self) -> str:
        return self.text(1, 128)

    def key(self) -> PublicKeyChoice | None:
        curve = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
        spki = der.wrap(0x30, curve + der.wrap(0x03, b"\0\4" + self.draw.randbytes(64)))
        return self.draw.choice((None, SpkiChoice(spki), CertificateChoice(CERTIFICATE)))

    def configuration(self) -> EimConfigurationData:
        return EimConfigurationData(
            eim_id=self.eim_id(),
            fqdn=self.draw.choice((None, self.text())),
            id_type=self.draw.choice((None, 1, 2, 3)),
            counter=self.number(),
            association_token=self.number(),
            public_key=self.key(),
            tls_trust=self.key(),
            protocols=self.draw.choice((None, self.bits(5))),
            ci_key_id=self.draw.choice((None, self.octets(20, 20))),
            indirect_download=self.draw.random() < 0.5,
        )

    def psmo(self) -> Psmo:
        listed = self.draw.choice(({}, {"iccid": self.iccid()}, {"aid": self.octets(5, 16)}, {"profile_class": 1}))
        return self.draw.choice(
            (
                Enable(self.iccid(), self.draw.random() < 0.5),
                Disable(self.iccid()),
                Delete(self.iccid()),
                ListProfileInfo(**listed, tags=self.draw.choice((None, b"\x5a\x9f\x70"))),
                GetRat(),
                ConfigureImmediateEnable(
                    self.draw.random() < 0.5,
                    self.draw.choice((None, "2.999.1", "1.3.6.1.4.1.16384", "2.23.146.1")),
                    self.draw.choice((None, self.text())),
                ),
                SetFallbackAttribute(self.iccid()),
                UnsetFallbackAttribute(),
                SetDefaultDpAddress(self.text()),
            )
        )

    def eco(self) -> Eco:
        return self.draw.choice(
            (AddEim(self.configuration()), DeleteEim(self.eim_id()), UpdateEim(self.configuration()), ListEim())
        )

    def package_signed(self) -> EuiccPackageSigned:
        count = self.draw.randint(1, 4)
        package: PsmoList | EcoList = PsmoList(tuple(self.psmo() for _ in range(count)))
        if self.draw.random() < 0.4:
            package = EcoList(tuple(self.eco() for _ in range(count)))
        return EuiccPackageSigned(self.eim_id(), self.eid(), self.integer(), self.transaction(), package)

    def package_request(self) -> EuiccPackageRequest:
        package = self.package_signed()
        return EuiccPackageRequest(sgp32.encode(package), self.draw.randbytes(64), package)

    def add_initial_eim(self) -> AddInitialEimRequest:
        return AddInitialEimRequest(tuple(self.configuration() for _ in range(self.draw.randint(0, 3))))

    def data_request(self) -> IpaEuiccDataRequest:
        criteria = self.draw.choice(
            ({}, {"notification_seq": self.integer()}, {"notification_events": b"\x04\xf0"}, {"all_results": True})
        )
        return IpaEuiccDataRequest(
            tag_list=self.octets(0, 20),
            ci_key_id=self.draw.choice((None, self.octets(1, 20))),
            result_seq=self.number(),
            transaction_id=self.transaction(),
            **criteria,
        )

    def profile(self) -> ProfileInfo:
        return ProfileInfo(
            iccid=self.iccid(),
            isdp_aid=self.draw.choice((None, self.octets(5, 16))),
            state=self.draw.choice((None, 0, 1)),
            nickname=self.draw.choice((None, self.text())),
            service_provider=self.draw.choice((None, self.text())),
            name=self.draw.choice((None, self.text())),
            profile_class=self.draw.choice((None, 0, 1, 2)),
            ppr=self.draw.choice((None, b"\x05\x60")),
            fallback=self.draw.random() < 0.3,
            fallback_allowed=self.draw.choice((None, False, True)),
        )

    def result(self) -> EuiccResult:
        tags = {0x83: "enable", 0x84: "disable", 0x85: "delete", 0x87: "configureImmediateEnable", 0x89: "deleteEim"}
        tags |= {0x8A: "updateEim", 0x8C: "rollback", 0x8D: "setFallbackAttribute", 0x8E: "unsetFallbackAttribute"}
        tags |= {0x02: "processingTerminated", 0xAB: "listEim", 0xA8: "addEim", 0xBF65: "setDefaultDpAddress"}
        tag = self.draw.choice(list(tags))
        profiles = tuple(self.profile() for _ in range(self.draw.randint(0, 3)))
        eims = tuple((self.eim_id(), self.draw.choice((None, 1, 2))) for _ in range(self.draw.randint(0, 3)))
        return self.draw.choice(
            (
                EuiccResult(tag, tags[tag], self.draw.choice((0, 1, 2, 20, 127, 128))),
                EuiccResult(0xBF2D, "listProfileInfo", profiles=profiles),
                EuiccResult(0xBF2D, "listProfileInfo", 11),
                EuiccResult(0xA8, "addEim", 0, association_token=self.integer()),
                EuiccResult(0xAB, "listEim", eims=eims),
                EuiccResult(0xA6, "getRAT", rules=()),
            )
        )

    def result_data(self) -> ResultData:
        results = tuple(self.result() for _ in range(self.draw.randint(0, 4)))
        return ResultData(self.eim_id(), self.integer(), self.transaction(), self.integer(), results)

    def package_result(self) -> PackageResult:
        data = self.result_data()
        error = ErrorData(self.eim_id(), self.integer(), self.transaction(), self.draw.choice((3, 4, 6, 15, 104, 127)))
        return self.draw.choice(
            (
                ResultSigned(sgp32.encode(data), data, self.draw.randbytes(64)),
                ErrorSigned(sgp32.encode(error), error, self.draw.randbytes(64)),
                ErrorUnsigned(self.eim_id(), self.transaction(), self.number(), self.number()),
            )
        )

    def metadata(self) -> NotificationMetadata:
        iccid = self.draw.choice((None, self.iccid()))
        event = self.draw.randint(0, 3)
        return NotificationMetadata(self.draw.randint(0, 70_000), frozenset({event}), self.text(), iccid)

    def notification(self) -> PendingNotification:
        metadata = self.metadata()
        tbs = sgp32.encode(metadata)
        (event,) = metadata.events
        name = ("install", "enable", "disable", "delete")[event]
        installed = der.wrap(
            0xBF27, bytes.fromhex("800401020304") + tbs + bytes.fromhex("06 03 88 37 01 A2 08 A1 06 800105 81010C")
        )
        known = (metadata.seq_number, name, metadata.address, metadata.iccid)
        signature = self.draw.randbytes(64)
        return self.draw.choice(
            (
                PendingNotification("profileInstallationResult", *known, installed, signature),
                PendingNotification("otherSignedNotification", *known, tbs, signature, CERTIFICATE, CERTIFICATE),
                PendingNotification(
                    "compactOtherSignedNotification",
                    *known,
                    tbs,
                    signature,
                    eid=self.draw.choice((None, self.eid())),
                ),
            )
        )

    def notifications(self) -> tuple[bytes, ...]:
        return tuple(sgp32.encode(self.notification()) for _ in range(self.draw.randint(0, 2)))

    def data(self) -> IpaEuiccData:
        key = self.octets(20, 20)
        info1 = bytes.fromhex("BF2035 8203020500 A9160414") + key + bytes.fromhex("AA160414") + key
        asked = self.draw.choice((None, info1))
        return IpaEuiccData(
            notifications=self.notifications(),
            default_smdp=self.draw.choice((None, self.text())),
            results=tuple(self.package_result() for _ in range(self.draw.randint(0, 2))),
            info1=asked,
            root_smds=self.draw.choice((None, self.text())),
            association_token=self.number(),
            eum_certificate=self.draw.choice((None, CERTIFICATE)),
            euicc_certificate=self.draw.choice((None, CERTIFICATE)),
            transaction_id=self.transaction(),
            capabilities=self.draw.choice((None, IpaCapabilities(self.bits(6), self.bits(5)))),
            ci_keys_signing=(key,) if asked else (),
        )

    def data_response(self) -> DataResponse | DataError:
        return self.draw.choice(
            (DataResponse(self.data()), DataError(self.draw.choice((1, 5, 104, 127)), self.transaction()))
        )

    def payload(self) -> Payload:
        return self.draw.choice(
            (
                self.package_result(),
                self.data_response(),
                TriggerResult(self.transaction(), reason=self.draw.choice((104, 127, 3))),
                ResponseError(self.draw.choice((1, 2, 127)), self.transaction()),
            )
        )

    def provided(self) -> ProvideEimPackageResult:
        eid = self.draw.choice((None, self.eid()))
        if self.draw.random() < 0.5:
            return ProvideEimPackageResult(self.payload(), eid)
        return ProvideEimPackageResult(self.package_result(), eid, self.notifications(), Envelope.LIST)

    def handled(self) -> HandleNotification:
        return HandleNotification(self.draw.choice((sgp32.encode(self.notification()), self.provided())))

    def poll(self) -> GetEimPackageRequest:
        cause = self.draw.choice((None, 0, 1, 6, 127))
        plmn = self.draw.choice((None, b"\x62\xf2\x10"))
        return GetEimPackageRequest(self.eid(), self.draw.random() < 0.5, cause, plmn)
