"""Steps between the interface and the domain: as they are asked for, and as they are shown."""

from collections.abc import Mapping
from typing import Final

from eim import api, api_steps
from eim.domain import step
from eim.domain.ids import Iccid, format_iccid, parse_iccid
from eim.domain.step import Step, config_of, iccid_of, name_of, read_config
from eim.errors import InvalidRequest
from eim.services.ordering import UNNAMED, Template

_CLASSES: Final = {"test": 0, "provisioning": 1, "operational": 2}
_CLASS_NAMES: Final = {number: name for name, number in _CLASSES.items()}
_EVENTS: Final = {"install": 0, "enable": 1, "disable": 2, "delete": 3}

Configurations = Mapping[str, bytes]  # the eIM configurations of our identities that are named, by eimId


def identities_in(steps: api_steps.PackageSteps) -> frozenset[str]:
    """The identities of ours that these steps name."""
    named = (each.identity for each in steps if isinstance(each, api_steps.AddEimStep | api_steps.UpdateEimStep))
    return frozenset(name for name in named if name is not None)


def template(asked: api_steps.PackageStep, known: Configurations) -> Template:  # noqa: PLR0911 - one line a kind
    """A step as whoever orders asks for it. Raises InvalidRequest, InvalidIccid."""
    match asked:
        case api_steps.EnableStep():
            return _of_profile(step.Enable(_iccid(asked.profile), asked.rollback), asked.profile)
        case api_steps.DisableStep():
            return _of_profile(step.Disable(_iccid(asked.profile)), asked.profile)
        case api_steps.DeleteStep():
            return _of_profile(step.Delete(_iccid(asked.profile)), asked.profile)
        case api_steps.SetFallbackStep():
            return _of_profile(step.SetFallbackAttribute(_iccid(asked.profile)), asked.profile)
        case api_steps.AddEimStep():
            return Template(step.AddEim(_configuration(asked, known)))
        case api_steps.UpdateEimStep():
            return Template(step.UpdateEim(_configuration(asked, known)))
        case _:
            return Template(_plain(asked))


def _plain(asked: api_steps.PackageStep) -> Step:  # noqa: PLR0911 - one line a kind
    match asked:
        case api_steps.ListProfilesStep():
            return _listing(asked)
        case api_steps.GetRatStep():
            return step.GetRat()
        case api_steps.ImmediateEnableStep():
            return step.ConfigureImmediateEnable(asked.flag, asked.smdp_oid, asked.smdp_address)
        case api_steps.UnsetFallbackStep():
            return step.UnsetFallbackAttribute()
        case api_steps.DefaultDpAddressStep():
            return step.SetDefaultDpAddress(asked.address)
        case api_steps.DeleteEimStep():
            return step.DeleteEim(asked.eim_id)
        case api_steps.ListEimStep():
            return step.ListEim()
        case api_steps.DataStep():
            events = tuple(sorted({_EVENTS[name] for name in asked.notification_events}))
            ci_key_id = bytes.fromhex(asked.ci_key_id) if asked.ci_key_id is not None else None
            return step.DataRequest(asked.tags, ci_key_id, asked.notification_seq, events, asked.result_seq)
        case _:
            raise TypeError(f"{type(asked).__name__} is about a profile or an eIM")


def _listing(asked: api_steps.ListProfilesStep) -> step.ListProfileInfo:
    return step.ListProfileInfo(
        iccid=parse_iccid(asked.iccid) if asked.iccid is not None else None,
        aid=bytes.fromhex(asked.aid) if asked.aid is not None else None,
        profile_class=_CLASSES[asked.profile_class] if asked.profile_class is not None else None,
        tags=bytes.fromhex("".join(asked.tags)) if asked.tags is not None else None,
        iot_tags=bytes.fromhex("".join(asked.iot_tags)) if asked.iot_tags is not None else None,
    )


def _iccid(profile: api.ProfileChoice | None) -> Iccid:
    return parse_iccid(profile.iccid) if profile is not None and profile.iccid is not None else UNNAMED


def _of_profile(found: Step, profile: api.ProfileChoice | None) -> Template:
    if profile is not None and (profile.iccid is None) == (profile.service_provider is None):
        raise InvalidRequest("'profile' has either an 'iccid' or a 'service_provider'")
    return Template(found, profile.service_provider if profile is not None else None)


def _configuration(asked: api_steps.AddEimStep | api_steps.UpdateEimStep, known: Configurations) -> bytes:
    if (asked.configuration is None) == (asked.identity is None):
        raise InvalidRequest("either 'configuration' or 'identity' says which eIM is meant")
    if asked.configuration is None:
        return known[asked.identity or ""]
    if len(asked.configuration) % 2:
        raise InvalidRequest("'configuration' is an odd number of hex digits: something is cut off")
    return read_config(bytes.fromhex(asked.configuration))


def said(found: Step) -> dict[str, object]:
    """A step as an operation shows it: its name, and what it was given."""
    told: dict[str, object] = {"step": name_of(found)}
    iccid = iccid_of(found)
    if iccid is not None:
        told["iccid"] = format_iccid(iccid)
    return told | {name: value for name, value in _details(found).items() if value not in (None, "", [], False)}


def _details(found: Step) -> dict[str, object]:  # noqa: PLR0911 - one line a kind
    match found:
        case step.Enable():
            return {"rollback": found.rollback}
        case step.ListProfileInfo():
            return _listed(found)
        case step.ConfigureImmediateEnable():
            return {"flag": found.flag, "smdp_oid": found.smdp_oid, "smdp_address": found.smdp_address}
        case step.SetDefaultDpAddress():
            return {"address": found.address}
        case step.AddEim() | step.UpdateEim():
            return {"eim_id": config_of(found).eim_id, "configuration": found.config.hex().upper()}
        case step.DeleteEim():
            return {"eim_id": found.eim_id}
        case step.DataRequest():
            return _asked(found)
        case _:
            return {}


def _listed(found: step.ListProfileInfo) -> dict[str, object]:
    return {
        "iccid": format_iccid(found.iccid) if found.iccid is not None else None,
        "aid": found.aid.hex().upper() if found.aid is not None else None,
        "profile_class": _CLASS_NAMES.get(found.profile_class) if found.profile_class is not None else None,
        "tags": _tags(found.tags),
        "iot_tags": _tags(found.iot_tags),
    }


def _asked(found: step.DataRequest) -> dict[str, object]:
    names = {number: name for name, number in _EVENTS.items()}
    return {
        "tags": list(found.tags),
        "ci_key_id": found.ci_key_id.hex().upper() if found.ci_key_id is not None else None,
        "notification_seq": found.notification_seq,
        "notification_events": [names.get(number, str(number)) for number in found.notification_events],
        "result_seq": found.result_seq,
    }


def _tags(octets: bytes | None) -> list[str] | None:
    return [f"{tag:X}" for tag in step.tags_in(octets)] if octets is not None else None
