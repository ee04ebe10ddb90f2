"""Steps: the single things a package asks of a card or its IPA, in the words of SGP.32 sections 2.11.1 and 5.9.

An operation has one step or several; several are one package, executed by the card in their order.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import combinations
from typing import Final

import msgspec

from eim.asn1 import der, sgp32
from eim.asn1.sgp32 import EimConfigurationData
from eim.domain.euicc import Speaks
from eim.domain.ids import Iccid, format_iccid
from eim.domain.operation import Kind
from eim.errors import InvalidRequest, Malformed, NotInVersion

MOST_STEPS: Final = 16
_HIGHEST_COUNTER: Final = 8_388_607
_DRAW_A_TOKEN: Final = -1
_ONE_OCTET_TAG: Final = 0x1F


class DataTag(Enum):
    """What an IPA can be asked for (SGP.32 section 2.11.1.2): (name, its tag since v1.1, its tag in v1.0.1)."""

    NOTIFICATIONS = ("notifications", "A0", "BF2B")
    DEFAULT_SMDP = ("defaultSmdpAddress", "81", "80")
    RESULTS = ("euiccPackageResults", "A2", "BF2B")
    INFO1 = ("euiccInfo1", "BF20", "BF20")
    INFO2 = ("euiccInfo2", "BF22", "BF22")
    ROOT_SMDS = ("rootSmdsAddress", "83", "83")
    TOKEN = ("associationToken", "84", "84")
    EUM_CERTIFICATE = ("eumCertificate", "A5", "A5")
    EUICC_CERTIFICATE = ("euiccCertificate", "A6", "A6")
    CAPABILITIES = ("ipaCapabilities", "A8", "88")
    DEVICE_INFO = ("deviceInfo", "A9", "A9")

    def __init__(self, text: str, tag: str, tag_v1_0_1: str) -> None:
        self.text = text
        self.tag = bytes.fromhex(tag)
        self.tag_v1_0_1 = bytes.fromhex(tag_v1_0_1)


class Enable(msgspec.Struct, frozen=True, tag_field="step", tag="enable"):
    """Enable a profile; the one enabled before is disabled by it.

    rollback  lets the IPA go back by itself when it can't report over the new one
    """

    iccid: Iccid
    rollback: bool = False


class Disable(msgspec.Struct, frozen=True, tag_field="step", tag="disable"):
    iccid: Iccid


class Delete(msgspec.Struct, frozen=True, tag_field="step", tag="delete"):
    iccid: Iccid


class ListProfileInfo(msgspec.Struct, frozen=True, tag_field="step", tag="listProfileInfo"):
    """Without any member: all profiles, with the tags that the eIM wants to know. At most one of the first three."""

    iccid: Iccid | None = None
    aid: bytes | None = None  # of the ISD-P, 5 to 16 octets
    profile_class: int | None = None  # 0 test, 1 provisioning, 2 operational
    tags: bytes | None = None  # the tags wanted, one after the other
    iot_tags: bytes | None = None  # since v1.3

    @property
    def is_complete(self) -> bool:
        """Whether its answer is the whole inventory."""
        return self == ListProfileInfo()


class GetRat(msgspec.Struct, frozen=True, tag_field="step", tag="getRAT"):
    """The rules authorisation table: which policy rules profiles of whom may have."""


class ConfigureImmediateEnable(msgspec.Struct, frozen=True, tag_field="step", tag="configureImmediateEnable"):
    """Whether a downloaded profile may be enabled at once without us; without `flag` it is switched off.

    smdp_oid, smdp_address  only profiles of this SM-DP+
    """

    flag: bool = False
    smdp_oid: str | None = None  # dotted
    smdp_address: str | None = None


class SetFallbackAttribute(msgspec.Struct, frozen=True, tag_field="step", tag="setFallbackAttribute"):
    iccid: Iccid


class UnsetFallbackAttribute(msgspec.Struct, frozen=True, tag_field="step", tag="unsetFallbackAttribute"):
    pass


class SetDefaultDpAddress(msgspec.Struct, frozen=True, tag_field="step", tag="setDefaultDpAddress"):
    address: str  # empty clears it


class AddEim(msgspec.Struct, frozen=True, tag_field="step", tag="addEim"):
    config: bytes  # an EimConfigurationData TLV, tag 30


class DeleteEim(msgspec.Struct, frozen=True, tag_field="step", tag="deleteEim"):
    eim_id: str


class UpdateEim(msgspec.Struct, frozen=True, tag_field="step", tag="updateEim"):
    config: bytes  # an EimConfigurationData TLV, tag 30: its eimId says which; what it lacks stays as it is


class ListEim(msgspec.Struct, frozen=True, tag_field="step", tag="listEim"):
    pass


class RenewAssociation(msgspec.Struct, frozen=True, tag_field="step", tag="renewAssociation"):
    """updateEim of ourselves, with the key and the count that are the next ones when it is sealed."""


class DataRequest(msgspec.Struct, frozen=True, tag_field="step", tag="ipaEuiccDataRequest"):
    """Ask the IPA; the card does not see it. It is a package of its own, and unsigned."""

    tags: tuple[str, ...] = ()  # by DataTag.text; none: all of them
    ci_key_id: bytes | None = None  # of the certificates wanted
    notification_seq: int | None = None  # this notification only; or
    notification_events: tuple[int, ...] = ()  # those of these: 0 install, 1 enable, 2 disable, 3 delete
    result_seq: int | None = None  # this result only; since v1.1


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
Step = Psmo | Eco | RenewAssociation | DataRequest

OF_PROFILES: Final = (Enable, Disable, Delete, SetFallbackAttribute)
_ECOS: Final = (AddEim, DeleteEim, UpdateEim, ListEim, RenewAssociation)
_KINDS: Final[Mapping[type, Kind]] = {
    Enable: Kind.ENABLE,
    Disable: Kind.DISABLE,
    Delete: Kind.DELETE,
    ListProfileInfo: Kind.LIST_PROFILES,
    GetRat: Kind.GET_RAT,
    ConfigureImmediateEnable: Kind.IMMEDIATE_ENABLE,
    SetFallbackAttribute: Kind.SET_FALLBACK,
    UnsetFallbackAttribute: Kind.UNSET_FALLBACK,
    SetDefaultDpAddress: Kind.SET_DP_ADDRESS,
    AddEim: Kind.ADD_EIM,
    DeleteEim: Kind.DELETE_EIM,
    UpdateEim: Kind.UPDATE_EIM,
    ListEim: Kind.LIST_EIM,
    RenewAssociation: Kind.RENEW,
    DataRequest: Kind.DATA_REQUEST,
}
_NAMES: Final[Mapping[type, str]] = {step: kind.value for step, kind in _KINDS.items()}
SINCE: Final[Mapping[Kind, Speaks]] = {
    Kind.SET_FALLBACK: Speaks.V1_1,
    Kind.UNSET_FALLBACK: Speaks.V1_1,
    Kind.SET_DP_ADDRESS: Speaks.V1_1,
}


class Details(msgspec.Struct, frozen=True):
    """What a row keeps of steps that its plain columns can't say."""

    steps: tuple[Step, ...]


class Compact(msgspec.Struct, frozen=True):
    """Steps as the columns of an operation hold them."""

    kind: Kind
    iccid: Iccid | None = None  # of the one profile that the steps are about
    rollback: bool = False
    details: Details | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What these columns hold."""
        return steps_of(self.kind, self.iccid, self.details, rollback=self.rollback)


def kind_of(steps: Sequence[Step]) -> Kind:
    """The one word for them."""
    return _KINDS[type(steps[0])] if len(steps) == 1 else Kind.PACKAGE


def name_of(step: Step) -> str:
    """The standard's name of it: setFallbackAttribute."""
    return _NAMES[type(step)]


def is_eco(step: Step) -> bool:
    """Whether it is about the card's eIMs, and not about its profiles."""
    return isinstance(step, _ECOS)


def iccid_of(step: Step) -> Iccid | None:
    """The profile it changes."""
    return step.iccid if isinstance(step, OF_PROFILES) else None


def changes_card(step: Step) -> bool:
    """Whether anything on the card is different after it."""
    return not isinstance(step, ListProfileInfo | GetRat | ListEim | DataRequest)


def compact(steps: Sequence[Step]) -> Compact:
    """The columns that hold `steps`; `steps_of` is the way back."""
    kind = kind_of(steps)
    iccids = {iccid for iccid in map(iccid_of, steps) if iccid is not None}
    iccid = iccids.pop() if len(iccids) == 1 else None
    rollback = any(isinstance(step, Enable) and step.rollback for step in steps)
    plain = len(steps) == 1 and plain_step(kind, iccid, rollback=rollback) == steps[0]
    return Compact(kind, iccid, rollback, None if plain else Details(tuple(steps)))


def steps_of(kind: Kind, iccid: Iccid | None, details: Details | None, *, rollback: bool) -> tuple[Step, ...]:
    """The steps that a row's columns hold."""
    if details is not None:
        return details.steps
    step = plain_step(kind, iccid, rollback=rollback)
    return () if step is None else (step,)


def plain_step(kind: Kind, iccid: Iccid | None, *, rollback: bool) -> Step | None:
    """The step of this kind that needs no word but a profile; None when there is none."""
    if kind in _OF_ONE_PROFILE:
        if iccid is None:
            return None
        return Enable(iccid, rollback) if kind is Kind.ENABLE else _OF_ONE_PROFILE[kind](iccid)
    return _PLAIN.get(kind)


_OF_ONE_PROFILE: Final[Mapping[Kind, type[Enable | Disable | Delete | SetFallbackAttribute]]] = {
    Kind.ENABLE: Enable,
    Kind.DISABLE: Disable,
    Kind.DELETE: Delete,
    Kind.SET_FALLBACK: SetFallbackAttribute,
}
_PLAIN: Final[Mapping[Kind, Step]] = {
    Kind.LIST_PROFILES: ListProfileInfo(),
    Kind.GET_RAT: GetRat(),
    Kind.UNSET_FALLBACK: UnsetFallbackAttribute(),
    Kind.LIST_EIM: ListEim(),
    Kind.RENEW: RenewAssociation(),
    Kind.DATA_REQUEST: DataRequest(),
}


def config_of(step: AddEim | UpdateEim) -> EimConfigurationData:
    """The eIM configuration it carries. Raises InvalidRequest."""
    try:
        return sgp32.decode(EimConfigurationData, step.config)
    except Malformed as error:
        raise InvalidRequest(f"that is no eIM configuration: {error}") from None


def eim_of(step: AddEim | UpdateEim | DeleteEim) -> str:
    """The eimId it is about."""
    return step.eim_id if isinstance(step, DeleteEim) else config_of(step).eim_id


def check_package(steps: Sequence[Step]) -> None:
    """Refuse what no card may be sent in one package, whatever it holds (SGP.32 sections 2.11.1.1, 3.3).

    Raises InvalidRequest.
    """
    if not steps:
        raise InvalidRequest("a package has at least one step")
    if len(steps) > MOST_STEPS:
        raise InvalidRequest(f"a package has at most {MOST_STEPS} steps, this has {len(steps)}: order several")
    for step in steps:
        _check_one(step)
    if len(steps) > 1:
        _check_together(steps)


def refuse_unspoken(steps: Sequence[Step], speaks: Speaks | None) -> None:
    """Raise NotInVersion when a card that speaks `speaks` doesn't have one of the steps. None: not known yet."""
    if speaks is None:
        return
    for step in steps:
        for what, since in _needs(step):
            if is_before(speaks, since):
                raise NotInVersion(f"this card speaks {speaks.value}: {what} came with {since.value}")


def is_before(speaks: Speaks, other: Speaks) -> bool:
    """Whether the one version is older than the other."""
    return _VERSIONS.index(speaks) < _VERSIONS.index(other)


_VERSIONS: Final = tuple(Speaks)


def _needs(step: Step) -> list[tuple[str, Speaks]]:
    """What of it came after v1.0.1, and with which version."""
    kind = _KINDS[type(step)]
    needs = [(kind.value, SINCE[kind])] if kind in SINCE else []
    match step:
        case ListProfileInfo(iot_tags=bytes()):
            needs.append(("the list of IoT tags", Speaks.V1_3))
        case DataRequest(result_seq=int()):
            needs.append(("asking for one result", Speaks.V1_1))
    return needs


def _check_one(step: Step) -> None:
    match step:
        case ListProfileInfo():
            _check_listing(step)
        case ConfigureImmediateEnable(flag=False) if step != ConfigureImmediateEnable():
            raise InvalidRequest("an SM-DP+ is named only where immediate enabling is switched on")
        case AddEim():
            _check_added(config_of(step))
        case UpdateEim():
            _check_updated(config_of(step))
        case DataRequest():
            _check_question(step)


def _check_listing(step: ListProfileInfo) -> None:
    if sum(member is not None for member in (step.iccid, step.aid, step.profile_class)) > 1:
        raise InvalidRequest("listProfileInfo searches by one of ICCID, AID and class")
    for octets in (step.tags, step.iot_tags):
        if octets is not None:
            tags_in(octets)


def _check_added(config: EimConfigurationData) -> None:
    if config.counter is None:
        raise InvalidRequest("addEim needs the initial counterValue: put it into the eIM configuration")
    if config.public_key is None:
        raise InvalidRequest("addEim needs the eIM's public key: put it into the eIM configuration")
    if config.association_token not in (None, _DRAW_A_TOKEN):
        raise InvalidRequest("the association token in addEim is -1 (the card draws one) or absent, nothing else")
    _check_counter(config)


def _check_updated(config: EimConfigurationData) -> None:
    if config.public_key is not None and config.counter is None:
        raise InvalidRequest(
            "updateEim with another key needs the counterValue that its count begins with: put both into the eIM "
            "configuration, or leave the key out"
        )
    _check_counter(config)


def _check_counter(config: EimConfigurationData) -> None:
    if config.counter is not None and not 0 <= config.counter <= _HIGHEST_COUNTER:
        raise InvalidRequest(f"a counterValue lies between 0 and {_HIGHEST_COUNTER}, this is {config.counter}")


def _check_question(step: DataRequest) -> None:
    for text in step.tags:
        if text not in DATA_TAGS:
            raise InvalidRequest(f"an IPA can't be asked for {text!r}: it has {', '.join(DATA_TAGS)}")
    if step.notification_seq is not None and step.notification_events:
        raise InvalidRequest("notifications are searched by sequence number or by event, not by both")


def _check_together(steps: Sequence[Step]) -> None:
    if any(isinstance(step, DataRequest) for step in steps):
        raise InvalidRequest("a data request is a package of its own: order it by itself")
    if len({is_eco(step) for step in steps}) == 2:
        raise InvalidRequest("one package is about profiles or about eIMs, never about both: order two")
    for cls in (Enable, Disable, ConfigureImmediateEnable, SetDefaultDpAddress):
        if sum(isinstance(step, cls) for step in steps) > 1:
            raise InvalidRequest(f"{_KINDS[cls].value} may be in a package once: order several")
    for first, second in combinations(steps, 2):
        _check_pair(first, second)


def _check_pair(first: Step, second: Step) -> None:
    """`second` comes somewhere behind `first`."""
    if first == second:
        raise InvalidRequest(f"{name_of(first)} is in this package twice")
    if isinstance(first, Delete) and iccid_of(second) == first.iccid:
        named = format_iccid(first.iccid)
        raise InvalidRequest(f"profile {named} is deleted by this package, so {name_of(second)} has nothing to act on")
    if isinstance(first, Enable) and isinstance(second, Delete) and first.iccid == second.iccid:
        raise InvalidRequest(f"profile {format_iccid(first.iccid)} is enabled by this package, so it can't be deleted")
    if isinstance(first, DeleteEim) and isinstance(second, UpdateEim) and first.eim_id == eim_of(second):
        raise InvalidRequest(f"eIM {first.eim_id} is deleted by this package, so it can't be updated")
    if isinstance(first, AddEim) and isinstance(second, AddEim) and eim_of(first) == eim_of(second):
        raise InvalidRequest(f"eIM {eim_of(first)} is added twice by this package")


def tags_in(octets: bytes) -> tuple[int, ...]:
    """The tags in a tag list, of one or two octets each. Raises InvalidRequest for a cut or empty one."""
    tags: list[int] = []
    rest = iter(octets)
    for first in rest:
        if first & _ONE_OCTET_TAG != _ONE_OCTET_TAG:
            tags.append(first)
            continue
        second = next(rest, None)
        if second is None or second & 0x80:
            raise InvalidRequest(f"the tag list {octets.hex().upper()} ends inside a tag, or has one of three octets")
        tags.append(first << 8 | second)
    if not tags:
        raise InvalidRequest("the tag list is empty: name a tag, or leave the list out")
    return tuple(tags)


DATA_TAGS: Final[Mapping[str, DataTag]] = {tag.text: tag for tag in DataTag}


def read_config(octets: bytes) -> bytes:
    """The EimConfigurationData TLV (30) in what `eim keys export` makes: itself, or the one in a BF57.

    Raises InvalidRequest.
    """
    try:
        if der.read_one(octets)[0] != _INITIAL:
            return sgp32.encode(sgp32.decode(EimConfigurationData, octets))
        found = sgp32.decode(sgp32.AddInitialEimRequest, octets).configs
    except Malformed as error:
        raise InvalidRequest(f"that is no eIM configuration: {error}") from None
    if len(found) != 1:
        raise InvalidRequest(f"there are {len(found)} eIM configurations in it: give one")
    return sgp32.encode(found[0])


_INITIAL: Final = 0xBF57
