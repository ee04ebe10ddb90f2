"""The steps of an operation as they travel over `/v1`: what a card is asked for, in the words of SGP.32."""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

NO_NUL: Final = r"^[^\x00]*$"

IccidText: TypeAlias = Annotated[str, Meta(max_length=32, pattern=NO_NUL, description="18 to 20 digits")]
Provider: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=NO_NUL, description="a profile's service provider name")
]
EimIdText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128, pattern=NO_NUL)]
Hex: TypeAlias = Annotated[str, Meta(min_length=2, max_length=64, pattern=r"^([0-9A-Fa-f]{2})+$")]
TagHex: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f]{2}([0-9A-Fa-f]{2})?$", description="9F70, or 5A")]
Address: TypeAlias = Annotated[str, Meta(max_length=255, pattern=NO_NUL, description="host, or host:port")]
Configuration: TypeAlias = Annotated[
    str,
    Meta(
        min_length=4,
        max_length=32_768,
        pattern=r"^[0-9A-Fa-f]*$",
        description="EimConfigurationData (30..) or AddInitialEim with one (BF57..) in hex, as `eim keys export` makes",
    ),
]
DataName: TypeAlias = Literal[
    "notifications",
    "defaultSmdpAddress",
    "euiccPackageResults",
    "euiccInfo1",
    "euiccInfo2",
    "rootSmdsAddress",
    "associationToken",
    "eumCertificate",
    "euiccCertificate",
    "ipaCapabilities",
    "deviceInfo",
]
NotificationEvent: TypeAlias = Literal["install", "enable", "disable", "delete"]
SeqNumber: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class ProfileChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """Which profile is meant on every card: by its ICCID, or as the one of a service provider."""

    iccid: IccidText | None = None
    service_provider: Provider | None = None


class EnableStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="enable"):
    """Enable a profile; the one enabled before is disabled by it. Without `profile`: the one the order names."""

    profile: ProfileChoice | None = None
    rollback: bool = True  # who can't report over the new profile goes back by itself


class DisableStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="disable"):
    profile: ProfileChoice | None = None


class DeleteStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="delete"):
    profile: ProfileChoice | None = None


class ListProfilesStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="listProfileInfo"):
    """All profiles, or those of one ICCID, one AID or one class; with the tags that are named."""

    iccid: IccidText | None = None
    aid: Hex | None = None
    profile_class: Literal["test", "provisioning", "operational"] | None = None
    tags: Annotated[tuple[TagHex, ...], Meta(min_length=1, max_length=32)] | None = None
    iot_tags: Annotated[tuple[TagHex, ...], Meta(min_length=1, max_length=32)] | None = None  # since v1.3


class GetRatStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="getRAT"):
    """The rules authorisation table: whose profiles may have which policy rules."""


class ImmediateEnableStep(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="configureImmediateEnable"
):
    """Whether the device may enable a profile right after its download; for profiles of one SM-DP+ only, if named."""

    flag: bool = False
    smdp_oid: Annotated[str, Meta(max_length=128, pattern=r"^[0-2](\.(0|[1-9][0-9]{0,8})){1,30}$")] | None = None
    smdp_address: Address | None = None


class SetFallbackStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="setFallbackAttribute"):
    """Make a disabled profile the one that the device falls back to. Since v1.1."""

    profile: ProfileChoice | None = None


class UnsetFallbackStep(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="unsetFallbackAttribute"
):
    """No profile is the fallback any more. Since v1.1."""


class DefaultDpAddressStep(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="setDefaultDpAddress"
):
    """The card's default SM-DP+; an empty address clears it. Since v1.1."""

    address: Address


class AddEimStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="addEim"):
    """Another eIM that the card will obey: by its configuration, or an identity of ours by its eimId."""

    configuration: Configuration | None = None
    identity: EimIdText | None = None


class DeleteEimStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="deleteEim"):
    eim_id: EimIdText


class UpdateEimStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="updateEim"):
    """Change an eIM on the card, as `addEim` says; what the configuration leaves out stays as it is."""

    configuration: Configuration | None = None
    identity: EimIdText | None = None


class ListEimStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="listEim"):
    """Which eIMs the card obeys."""


class DataStep(Struct, frozen=True, forbid_unknown_fields=True, tag_field="step", tag="ipaEuiccDataRequest"):
    """Ask the device for its data; without `tags` for all. It stands alone, and is not signed."""

    tags: Annotated[tuple[DataName, ...], Meta(max_length=11)] = ()
    ci_key_id: Hex | None = None  # whose certificates
    notification_seq: SeqNumber | None = None
    notification_events: Annotated[tuple[NotificationEvent, ...], Meta(max_length=4)] = ()
    result_seq: SeqNumber | None = None  # since v1.1


PackageStep: TypeAlias = (
    EnableStep
    | DisableStep
    | DeleteStep
    | ListProfilesStep
    | GetRatStep
    | ImmediateEnableStep
    | SetFallbackStep
    | UnsetFallbackStep
    | DefaultDpAddressStep
    | AddEimStep
    | DeleteEimStep
    | UpdateEimStep
    | ListEimStep
    | DataStep
)
PackageSteps: TypeAlias = Annotated[
    tuple[PackageStep, ...], Meta(min_length=1, max_length=16, description="of one package, executed in their order")
]
