"""What an eIM asks of an eUICC: the eUICC Package and the eIM Configuration Data (SGP.32 sections 2.11.1.1, 3.5)."""

import msgspec


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
    indirect_download: bool = False


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
