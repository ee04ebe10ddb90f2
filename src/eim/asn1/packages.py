"""What an eIM asks of an eUICC: the eUICC Package and the eIM Configuration Data (SGP.32 sections 2.11.1.1, 3.5)."""

from typing import Final

import msgspec

from eim.asn1 import der
from eim.asn1.kinds import Bits, Implicit, Integer, Null, Octets, Oid, Text
from eim.asn1.schema import Choice, Explicit, Group, ListOf, Member, Opaque, Sequence, Sole, Tagged


class SpkiChoice(msgspec.Struct, frozen=True):
    """A public key by itself."""

    der: bytes  # SubjectPublicKeyInfo with its outer 30; the wire form has it without


class CertificateChoice(msgspec.Struct, frozen=True):
    """A public key inside a certificate."""

    der: bytes  # an X.509 certificate with its outer 30; the wire form has it without


PublicKeyChoice = SpkiChoice | CertificateChoice


class EimConfigurationData(msgspec.Struct, frozen=True):
    """How an eUICC knows one eIM. In updateEim what is None stays as the eUICC has it."""

    eim_id: str  # 1..128 characters
    fqdn: str | None = None
    id_type: int | None = None  # 1 OID, 2 FQDN, 3 proprietary
    counter: int | None = None  # the initial counterValue
    association_token: int | None = None  # -1 asks the eUICC to draw one
    public_key: PublicKeyChoice | None = None  # verifies our packages
    tls_trust: PublicKeyChoice | None = None  # the (D)TLS server's own key, or its CA
    protocols: frozenset[int] | None = None  # 0 retrieve https, 1 retrieve coaps, 2 inject https, 3 inject coaps, 4 own
    ci_key_id: bytes | None = None  # the CI key under which the eUICC signs for this eIM
    indirect_download: bool = False  # since v1.1
    proprietary: bytes | None = None  # the AA TLV of eSipaProprietaryProtocolInformation, since v1.3


class Enable(msgspec.Struct, frozen=True):
    iccid: bytes  # 10 octets
    rollback: bool = False


class Disable(msgspec.Struct, frozen=True):
    iccid: bytes


class Delete(msgspec.Struct, frozen=True):
    iccid: bytes


class ListProfileInfo(msgspec.Struct, frozen=True):
    """Without any member: all profiles with the default tags. At most one of the first three."""

    iccid: bytes | None = None
    aid: bytes | None = None
    profile_class: int | None = None
    tags: bytes | None = None  # the tags wanted, one after the other
    iot_tags: bytes | None = None  # since v1.3


class GetRat(msgspec.Struct, frozen=True):
    pass


class ConfigureImmediateEnable(msgspec.Struct, frozen=True):
    """Without any member it switches immediate enabling off."""

    flag: bool = False
    smdp_oid: str | None = None  # dotted
    smdp_address: str | None = None


class SetFallbackAttribute(msgspec.Struct, frozen=True):
    iccid: bytes


class UnsetFallbackAttribute(msgspec.Struct, frozen=True):
    pass


class SetDefaultDpAddress(msgspec.Struct, frozen=True):
    address: str  # empty clears it


class AddEim(msgspec.Struct, frozen=True):
    config: EimConfigurationData


class DeleteEim(msgspec.Struct, frozen=True):
    eim_id: str


class UpdateEim(msgspec.Struct, frozen=True):
    config: EimConfigurationData


class ListEim(msgspec.Struct, frozen=True):
    pass


Psmo = (
    Enable
    | Disable
    | Delete
    | ListProfileInfo
    | GetRat
    | ConfigureImmediateEnable
    | SetFallbackAttribute
    | UnsetFallbackAttribute
    | SetDefaultDpAddress
)
Eco = AddEim | DeleteEim | UpdateEim | ListEim


class PsmoList(msgspec.Struct, frozen=True):
    items: tuple[Psmo, ...]


class EcoList(msgspec.Struct, frozen=True):
    items: tuple[Eco, ...]


class EuiccPackageSigned(msgspec.Struct, frozen=True):
    """What the eIM signs, followed by the association token that does not travel."""

    eim_id: str
    eid: bytes  # 16 octets
    counter: int
    transaction_id: bytes | None  # 1..16 octets
    package: PsmoList | EcoList


class EuiccPackageRequest(msgspec.Struct, frozen=True):
    """BF51 on its way to the eUICC."""

    signed: bytes  # the EuiccPackageSigned TLV as it travels
    signature: bytes  # r || s, 64 octets
    package: EuiccPackageSigned  # what `signed` says


class AddInitialEimRequest(msgspec.Struct, frozen=True):
    """BF57: what a factory loads into a card that has no eIM yet (ES10b, unsigned)."""

    configs: tuple[EimConfigurationData, ...]


EIM_ID: Final = Text(1, 128)
TRANSACTION: Final = Octets(1, 16)
EID: Final = Tagged(0x5A, Octets(16, 16))
ICCID: Final = Tagged(0x5A, Octets(10, 10))
_AID: Final = Octets(1, 16)

_PUBLIC_KEY: Final = Explicit(
    Choice(
        {
            SpkiChoice: Tagged(0xA0, Sole(SpkiChoice, "der", Implicit())),
            CertificateChoice: Tagged(0xA1, Sole(CertificateChoice, "der", Implicit())),
        }
    )
)

CONFIGURATION: Final = Sequence(
    EimConfigurationData,
    (
        Member("eim_id", Tagged(0x80, EIM_ID)),
        Member("fqdn", Tagged(0x81, Text()), None),
        Member("id_type", Tagged(0x82, Integer()), None),
        Member("counter", Tagged(0x83, Integer()), None),
        Member("association_token", Tagged(0x84, Integer()), None),
        Member("public_key", Tagged(0xA5, _PUBLIC_KEY), None),
        Member("tls_trust", Tagged(0xA6, _PUBLIC_KEY), None),
        Member("protocols", Tagged(0x87, Bits()), None),
        Member("ci_key_id", Tagged(0x88, Octets()), None),
        Member("indirect_download", Tagged(0x89, Null()), False),
        Member("proprietary", Opaque((0xAA,)), None),
    ),
)

_LIST_PROFILES: Final = Sequence(
    ListProfileInfo,
    (
        Group(
            0xA0,
            (
                Member("aid", Tagged(0x4F, _AID), None),
                Member("iccid", ICCID, None),
                Member("profile_class", Tagged(0x95, Integer()), None),
            ),
        ),
        Member("tags", Tagged(0x5C, Octets()), None),
        Member("iot_tags", Tagged(0x5D, Octets()), None),
    ),
)

_IMMEDIATE_ENABLE: Final = Sequence(
    ConfigureImmediateEnable,
    (
        Member("flag", Tagged(0x80, Null()), False),
        Member("smdp_oid", Tagged(0x81, Oid()), None),
        Member("smdp_address", Tagged(0x82, Text()), None),
    ),
)

# A8 and A9 mean one thing in a list of PSMOs and another in a list of eCOs.
PSMO: Final = Choice(
    {
        Enable: Tagged(
            0xA3, Sequence(Enable, (Member("iccid", ICCID), Member("rollback", Tagged(0x05, Null()), False)))
        ),
        Disable: Tagged(0xA4, Sequence(Disable, (Member("iccid", ICCID),))),
        Delete: Tagged(0xA5, Sequence(Delete, (Member("iccid", ICCID),))),
        ListProfileInfo: Tagged(0xBF2D, _LIST_PROFILES),
        GetRat: Tagged(0xA6, Sequence(GetRat)),
        ConfigureImmediateEnable: Tagged(0xA7, _IMMEDIATE_ENABLE),
        SetFallbackAttribute: Tagged(0xA8, Sequence(SetFallbackAttribute, (Member("iccid", ICCID),))),
        UnsetFallbackAttribute: Tagged(0xA9, Sequence(UnsetFallbackAttribute)),
        SetDefaultDpAddress: Tagged(0xBF65, Sequence(SetDefaultDpAddress, (Member("address", Tagged(0x80, Text())),))),
    }
)

ECO: Final = Choice(
    {
        AddEim: Tagged(0xA8, Sole(AddEim, "config", CONFIGURATION)),
        DeleteEim: Tagged(0xA9, Sequence(DeleteEim, (Member("eim_id", Tagged(0x80, EIM_ID)),))),
        UpdateEim: Tagged(0xAA, Sole(UpdateEim, "config", CONFIGURATION)),
        ListEim: Tagged(0xAB, Sequence(ListEim)),
    }
)

PACKAGE: Final = Choice(
    {
        PsmoList: Tagged(0xA0, Sole(PsmoList, "items", ListOf(PSMO))),
        EcoList: Tagged(0xA1, Sole(EcoList, "items", ListOf(ECO))),
    }
)

PACKAGE_SIGNED: Final = Tagged(
    der.SEQUENCE,
    Sequence(
        EuiccPackageSigned,
        (
            Member("eim_id", Tagged(0x80, EIM_ID)),
            Member("eid", EID),
            Member("counter", Tagged(0x81, Integer())),
            Member("transaction_id", Tagged(0x82, TRANSACTION), None),
            Member("package", PACKAGE),
        ),
    ),
)

PACKAGE_REQUEST: Final = Tagged(
    0xBF51,
    Sequence(
        EuiccPackageRequest,
        (
            Member("package", PACKAGE_SIGNED, kept="signed"),
            Member("signature", Tagged(0x5F37, Octets())),
        ),
    ),
)

ADD_INITIAL_EIM: Final = Tagged(
    0xBF57,
    Sequence(
        AddInitialEimRequest,
        (Member("configs", Tagged(0xA0, ListOf(Tagged(der.SEQUENCE, CONFIGURATION)))),),
    ),
)
