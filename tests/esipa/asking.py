"""Steps as an operator writes them for `/v1/operations`."""

from typing import Final

from eim.domain import step
from eim.domain.ids import format_iccid
from eim.domain.step import Step, iccid_of, name_of

_CLASSES: Final = {0: "test", 1: "provisioning", 2: "operational"}
_EVENTS: Final = ("install", "enable", "disable", "delete")


def asked(wanted: Step) -> dict[str, object]:
    """The JSON of one step; what it doesn't say is left out."""
    said: dict[str, object] = {"step": name_of(wanted)}
    iccid = iccid_of(wanted)
    if iccid is not None:
        said["profile"] = {"iccid": format_iccid(iccid)}
    return said | {name: value for name, value in _details(wanted).items() if value not in (None, [])}


def _details(wanted: Step) -> dict[str, object]:
    match wanted:
        case step.Enable():
            return {"rollback": wanted.rollback}
        case step.ListProfileInfo():
            return _listing(wanted)
        case step.ConfigureImmediateEnable():
            return {"flag": wanted.flag, "smdp_oid": wanted.smdp_oid, "smdp_address": wanted.smdp_address}
        case step.SetDefaultDpAddress():
            return {"address": wanted.address}
        case step.AddEim() | step.UpdateEim():
            return {"configuration": wanted.config.hex()}
        case step.DeleteEim():
            return {"eim_id": wanted.eim_id}
        case step.DataRequest():
            return {
                "tags": list(wanted.tags),
                "ci_key_id": wanted.ci_key_id.hex() if wanted.ci_key_id else None,
                "notification_seq": wanted.notification_seq,
                "notification_events": [_EVENTS[number] for number in wanted.notification_events],
                "result_seq": wanted.result_seq,
            }
        case _:
            return {}


def _listing(wanted: step.ListProfileInfo) -> dict[str, object]:
    return {
        "iccid": format_iccid(wanted.iccid) if wanted.iccid else None,
        "aid": wanted.aid.hex() if wanted.aid else None,
        "profile_class": None if wanted.profile_class is None else _CLASSES[wanted.profile_class],
        "tags": None if wanted.tags is None else [f"{tag:02X}" for tag in step.tags_in(wanted.tags)],
    }
