"""Steps on the wire: encoded for the version of SGP.32 that the card speaks (sections 2.11.1.1, 2.11.1.2; v1.0.1
to v1.3), and read back from a package."""

from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1 import sgp32
from eim.asn1.kinds import Bits
from eim.asn1.sgp32 import (
    AddEim,
    ConfigureImmediateEnable,
    Delete,
    DeleteEim,
    Disable,
    Eco,
    EcoList,
    EimConfigurationData,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    Psmo,
    PsmoList,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    UnsetFallbackAttribute,
    UpdateEim,
)
from eim.domain import step as asked
from eim.domain.euicc import Speaks
from eim.domain.ids import Iccid
from eim.domain.step import DATA_TAGS, DataRequest, DataTag, Step, is_before, is_eco, refuse_unspoken
from eim.protocol import esep
from eim.protocol.esep import SearchCriteria

_BITS: Final = Bits()


def package_of(steps: Sequence[Step], speaks: Speaks) -> PsmoList | EcoList:
    """The steps as one signed package for a card that speaks `speaks`. Raises NotInVersion."""
    refuse_unspoken(steps, speaks)
    if is_eco(steps[0]):
        return EcoList(tuple(_eco(step, speaks) for step in steps))
    return PsmoList(tuple(_psmo(step) for step in steps))


def steps_in(package: PsmoList | EcoList) -> tuple[Step, ...]:
    """What a package asks for: the way back."""
    return tuple(_read(item) for item in package.items)


def question(step: DataRequest, speaks: Speaks | None, transaction: bytes | None, *, results_only: bool) -> bytes:
    """The complete BF52 TLV that asks an IPA for its data.

    results_only  a recovery: v1.0.1 gives its results in place of the notifications, later versions give both
    """
    old = speaks is Speaks.V1_0_1
    tags = [DATA_TAGS[text] for text in step.tags]
    criteria = SearchCriteria(
        ci_key_id=step.ci_key_id,
        notification_seq=step.notification_seq,
        notification_events=_events(step.notification_events) if step.notification_events else None,
        result_seq=step.result_seq,
        all_results=old and (results_only or (DataTag.RESULTS in tags and DataTag.NOTIFICATIONS not in tags)),
    )
    return esep.data_request(_tag_list(tags, speaks) if tags else None, speaks, transaction, criteria)


def _tag_list(tags: Sequence[DataTag], speaks: Speaks | None) -> bytes:
    old = speaks is Speaks.V1_0_1
    octets = dict.fromkeys(tag.tag_v1_0_1 if old else tag.tag for tag in tags)  # BF2B once, though two are in it
    return b"".join(octets)


def _events(numbers: Sequence[int]) -> bytes:
    """The content of the BIT STRING with these bits."""
    return _BITS.write(frozenset(numbers))


def _psmo(step: Step) -> Psmo:  # noqa: PLR0911 - one line a kind
    match step:
        case asked.Enable():
            return Enable(step.iccid, step.rollback)
        case asked.Disable():
            return Disable(step.iccid)
        case asked.Delete():
            return Delete(step.iccid)
        case asked.ListProfileInfo():
            return ListProfileInfo(step.iccid, step.aid, step.profile_class, step.tags, step.iot_tags)
        case asked.GetRat():
            return GetRat()
        case asked.ConfigureImmediateEnable():
            return ConfigureImmediateEnable(step.flag, step.smdp_oid, step.smdp_address)
        case asked.SetFallbackAttribute():
            return SetFallbackAttribute(step.iccid)
        case asked.UnsetFallbackAttribute():
            return UnsetFallbackAttribute()
        case asked.SetDefaultDpAddress():
            return SetDefaultDpAddress(step.address)
        case _:
            raise TypeError(f"{type(step).__name__} is no PSMO")


def _eco(step: Step, speaks: Speaks) -> Eco:
    match step:
        case asked.AddEim():
            return AddEim(_configuration(step, speaks))
        case asked.UpdateEim():
            return UpdateEim(_configuration(step, speaks))
        case asked.DeleteEim():
            return DeleteEim(step.eim_id)
        case asked.ListEim():
            return ListEim()
        case _:
            raise TypeError(f"{type(step).__name__} is no eCO")


def _configuration(step: asked.AddEim | asked.UpdateEim, speaks: Speaks) -> EimConfigurationData:
    """Without what the card's version does not have."""
    config = asked.config_of(step)
    if is_before(speaks, Speaks.V1_1):
        config = msgspec.structs.replace(config, indirect_download=False)
    if is_before(speaks, Speaks.V1_3):
        config = msgspec.structs.replace(config, proprietary=None)
    return config


def _read(item: Psmo | Eco) -> Step:  # noqa: C901, PLR0911, PLR0912 - one line a kind
    match item:
        case Enable():
            return asked.Enable(Iccid(item.iccid), item.rollback)
        case Disable():
            return asked.Disable(Iccid(item.iccid))
        case Delete():
            return asked.Delete(Iccid(item.iccid))
        case ListProfileInfo():
            iccid = None if item.iccid is None else Iccid(item.iccid)
            return asked.ListProfileInfo(iccid, item.aid, item.profile_class, item.tags, item.iot_tags)
        case GetRat():
            return asked.GetRat()
        case ConfigureImmediateEnable():
            return asked.ConfigureImmediateEnable(item.flag, item.smdp_oid, item.smdp_address)
        case SetFallbackAttribute():
            return asked.SetFallbackAttribute(Iccid(item.iccid))
        case UnsetFallbackAttribute():
            return asked.UnsetFallbackAttribute()
        case SetDefaultDpAddress():
            return asked.SetDefaultDpAddress(item.address)
        case AddEim():
            return asked.AddEim(sgp32.encode(item.config))
        case DeleteEim():
            return asked.DeleteEim(item.eim_id)
        case UpdateEim():
            return asked.UpdateEim(sgp32.encode(item.config))
        case ListEim():
            return asked.ListEim()
