"""Our view of a card follows what it did, step by step, and is set right where the card says otherwise (drift)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import EuiccResult, ProfileInfo, ResultSigned
from eim.domain import drift, inventory
from eim.domain.drift import Difference
from eim.domain.euicc import Eim, Profile, ProfileState
from eim.domain.event import Happening
from eim.domain.ids import Iccid, format_iccid
from eim.domain.outcome import Outcome
from eim.domain.step import (
    AddEim,
    ConfigureImmediateEnable,
    DeleteEim,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    Step,
    config_of,
)
from eim.services import barring, explaining, listing
from eim.services.visit import Visit
from eim.store import card_views
from eim.store import inventory as profiles
from eim.store.packages import Package

_ADDRESS: Final = "defaultSmdpAddress"
_LAST_DELETED: Final = 2  # the code of deleteEim when no eIM is left


async def follow(
    visit: Visit, package: Package, outcome: Outcome, result: ResultSigned, explained: Sequence[Step]
) -> dict[str, object]:
    """Bring our view up to date with the steps that went well; what the operation's outcome should tell beside.

    package    with the operation that it carried, as it was looked up for the result

    explained  steps in doubt that this card may have executed: a listing that shows them is no drift
    """
    told: dict[str, object] = {}
    steps = package.carried.steps if package.carried is not None else ()
    for step, sent, ended in zip(steps, listing.sent(package), outcome.steps, strict=True):
        if ended.done:
            element = result.data.results[ended.place] if ended.place is not None else None
            if isinstance(step, ListProfileInfo) and isinstance(sent, ListProfileInfo):
                told |= await _list(visit, (step, sent), element, explained)
            else:
                told |= await _follow(visit, step, element, explained)
    return told


async def _follow(
    visit: Visit, step: Step, element: EuiccResult | None, explained: Sequence[Step]
) -> dict[str, object]:
    if inventory.changes_profiles(step):
        return await _change(visit, step)
    if (learnt := learnt_by(step, element)) is not None:
        await card_views.learn(visit.db, visit.bucket, visit.eid, learnt.settings)
        return learnt.told
    match step:
        case ListEim() if element is not None and element.eims is not None:
            await _list_eims(visit, [Eim(*eim) for eim in element.eims], explained)
        case AddEim():
            return await _add_eim(visit, step, element)
        case DeleteEim():
            await _delete_eim(visit, step, element)
    return {}


class Learnt(msgspec.Struct, frozen=True):
    """What a step that went well tells of the card beside its profiles."""

    settings: dict[str, object]  # these are so now; the others stay
    told: dict[str, object]  # for the operation's outcome


def learnt_by(step: Step, element: EuiccResult | None) -> Learnt | None:
    """None: it tells nothing of the kind."""
    match step:
        case SetDefaultDpAddress():
            return Learnt({_ADDRESS: step.address}, {})
        case ConfigureImmediateEnable():
            said = {"flag": step.flag, "smdpOid": step.smdp_oid, "smdpAddress": step.smdp_address}
            return Learnt({"immediateEnable": said}, {})
        case GetRat() if element is not None:
            rules = [] if element.rules is None else [rule.said for rule in element.rules]
            return Learnt({"rat": rules}, {"rat": rules})
        case _:
            return None


def told_of_change(before: Sequence[Profile], step: Step) -> dict[str, object]:
    """What the outcome of an operation tells of the profiles before its `step`: which one was used."""
    used = inventory.enabled(before)
    return {"disabled": format_iccid(used.iccid)} if isinstance(step, Enable) and used else {}


async def _change(visit: Visit, step: Step) -> dict[str, object]:
    before = await profiles.read(visit.db, visit.bucket, visit.eid)
    await profiles.write(visit.db, visit.bucket, visit.eid, visit.tenant, inventory.after(before, step))
    return told_of_change(before, step)


async def _list(
    visit: Visit,
    steps: tuple[ListProfileInfo, ListProfileInfo],
    element: EuiccResult | None,
    explained: Sequence[Step],
) -> dict[str, object]:
    """`steps`: the listing as it was ordered, and as it was sent, with the tags that it named."""
    asked, sent = steps
    if element is None:
        return {}
    found = listed(element)
    before = await profiles.read(visit.db, visit.bucket, visit.eid)
    if not asked.is_complete:
        now = inventory.merge(before, found, sent)
        await profiles.write(visit.db, visit.bucket, visit.eid, visit.tenant, now)
        return told_of_listing(found)
    now = inventory.relisted(before, found, sent)
    if visit.card.inventory_at is not None:
        expected: Sequence[Profile] = before
        for doubtful in explained:
            if inventory.were_executed(now, [doubtful]):
                expected = inventory.after(expected, doubtful)
        await report(visit, drift.of_profiles(expected, now))
    await profiles.replace(visit.db, visit.bucket, visit.eid, visit.tenant, now)
    await explaining.by_inventory(visit, before, now)
    return {}


def told_of_listing(found: Sequence[Profile]) -> dict[str, object]:
    """What the outcome of an operation tells of a listing that is not the whole inventory."""
    return {"profiles": [format_iccid(profile.iccid) for profile in found]}


async def _list_eims(visit: Visit, said: Sequence[Eim], explained: Sequence[Step]) -> None:
    believed = (await card_views.read(visit.db, visit.bucket, visit.eid)).eims
    if believed is not None:
        for step in explained:
            believed = _explain(believed, step, said)
        await report(visit, drift.of_eims(believed, said))
    await card_views.list_eims(visit.db, visit.bucket, visit.eid, said)


def _explain(believed: Sequence[Eim], step: Step, said: Sequence[Eim]) -> tuple[Eim, ...]:
    names = {eim.eim_id for eim in said}
    match step:
        case AddEim() if (added := _eim(step)).eim_id in names:
            return (*(eim for eim in believed if eim.eim_id != added.eim_id), added)
        case DeleteEim() if step.eim_id not in names:
            return tuple(eim for eim in believed if eim.eim_id != step.eim_id)
        case _:
            return tuple(believed)


async def _add_eim(visit: Visit, step: AddEim, element: EuiccResult | None) -> dict[str, object]:
    """The token that the card drew for the new eIM goes to whoever ordered it, who hands it on to that eIM."""
    added, believed = _eim(step), (await card_views.read(visit.db, visit.bucket, visit.eid)).eims
    if believed is not None:
        now = [*(eim for eim in believed if eim.eim_id != added.eim_id), added]
        await card_views.know_eims(visit.db, visit.bucket, visit.eid, now)
    token = element.association_token if element is not None else None
    return {} if token is None else {"tokens": {added.eim_id: token}}


async def _delete_eim(visit: Visit, step: DeleteEim, element: EuiccResult | None) -> None:
    """After its last eIM, or ours, is deleted, no package of ours is executed any more."""
    believed = (await card_views.read(visit.db, visit.bucket, visit.eid)).eims
    is_last = element is not None and element.code == _LAST_DELETED
    if believed is not None or is_last:
        left = [] if is_last else [eim for eim in believed or () if eim.eim_id != step.eim_id]
        await card_views.know_eims(visit.db, visit.bucket, visit.eid, left)
    if is_last or step.eim_id == visit.card.eim_id:
        await barring.orphan(visit, "the last eIM was deleted" if is_last else "this eIM was deleted", step.eim_id)


async def hear_addresses(visit: Visit, default_smdp: str | None) -> None:
    """The device told the card's default SM-DP+: another one than was set is drift."""
    if default_smdp is None:
        return
    settings = (await card_views.read(visit.db, visit.bucket, visit.eid)).settings or {}
    believed = settings.get("defaultSmdpAddress")
    await report(visit, drift.of_address(_ADDRESS, believed if isinstance(believed, str) else None, default_smdp))
    await card_views.learn(visit.db, visit.bucket, visit.eid, {_ADDRESS: default_smdp})


async def report(visit: Visit, differences: Sequence[Difference]) -> None:
    """Tell that the card is not as we believed; nothing when there is no difference."""
    if differences:
        data = {"differences": [_said(difference) for difference in differences]}
        await visit.record(Happening.EUICC_DRIFT, data)
        await visit.audit(Happening.EUICC_DRIFT.text, data)


def _said(difference: Difference) -> dict[str, object]:
    told: dict[str, object] = {
        "what": difference.what,
        "believed": difference.believed,
        "said": difference.said,
    }
    return told if difference.which is None else told | {"which": difference.which}


def _eim(step: AddEim) -> Eim:
    config = config_of(step)
    return Eim(config.eim_id, config.id_type)


def listed(element: EuiccResult) -> list[Profile]:
    """The profiles of a listProfileInfo result."""
    return [_profile(info, Iccid(info.iccid)) for info in element.profiles or () if info.iccid is not None]


def _profile(info: ProfileInfo, iccid: Iccid) -> Profile:
    return Profile(
        iccid=iccid,
        state=ProfileState.ENABLED if info.state == 1 else ProfileState.DISABLED,
        isdp_aid=info.isdp_aid,
        nickname=info.nickname,
        service_provider=info.service_provider,
        name=info.name,
        profile_class=info.profile_class,
        fallback=info.fallback,
        ppr=info.ppr,
        fallback_allowed=info.fallback_allowed,
    )
