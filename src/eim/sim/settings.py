"""What a person can tell one simulated device while it runs: habits, conditions, refusals, and things that happen.

A line names the device and what it is told: `3 refuse=enable/catBusy*2`, `* naming=unnamed`, `8999.. fallBack`.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final

import msgspec

from eim.domain.euicc import SignatureCoding, SignatureForm, Speaks
from eim.domain.ids import Iccid, format_eid, parse_eid, parse_iccid
from eim.errors import BadConfiguration, Refused
from eim.sim.behaviour import AfterDeath, Behaviour, Carrier, Connections, Naming, Notifications, Reporting
from eim.sim.der import bits, tlv
from eim.sim.euicc import Terminal, VirtualEuicc
from eim.sim.happenings import Cause
from eim.sim.profiles import Profile, aid
from eim.sim.provocations import CODES, code_of
from eim.sim.psmo import Condition
from eim.sim.switches import Curves, NotificationForm, ProfileTags, ResultShape, TagLists, UnsignedErrors

EVERYONE: Final = "*"
_NONE: Final = "-"
_OK: Final = 0


class Subject(msgspec.Struct, frozen=True):
    """The device that is told something."""

    euicc: VirtualEuicc
    profiles: Mapping[str, Iccid]  # its A and B
    habits: Behaviour


class Done(msgspec.Struct, frozen=True):
    """What telling came to: the habits from now on, and the card's code where it was asked to do something."""

    habits: Behaviour
    code: int = _OK


class Setting(msgspec.Struct, frozen=True):
    """One thing that can be told."""

    values: str  # what may follow the "="; empty: nothing
    means: str
    tell: Callable[[Subject, str], Done]


class Told(msgspec.Struct, frozen=True):
    """One line, understood."""

    who: str  # "*", a number from 1, or an EID
    name: str
    value: str

    def means(self, number: int, euicc: VirtualEuicc) -> bool:
        """Whether the device `number` (from 1) is meant."""
        return self.who in (EVERYONE, str(number), format_eid(euicc.eid))

    def apply(self, subject: Subject) -> Done:
        """Do it. Raises BadConfiguration for a value that isn't one."""
        try:
            return SETTINGS[self.name].tell(subject, self.value)
        except (ValueError, KeyError, Refused) as error:
            raise _wrong(self.name, self.value) from error


def understand(line: str) -> Told:
    """`WHO NAME[=VALUE]`. Raises BadConfiguration for another form or a name that isn't known."""
    who, _, rest = line.strip().partition(" ")
    name, _, value = rest.strip().partition("=")
    if not name:
        raise BadConfiguration(
            f"{line!r} tells nobody anything: write WHO NAME=VALUE, `3 condition=catBusy` for example"
        )
    if name not in SETTINGS:
        raise BadConfiguration(f"no setting is called {name!r}: `eim sim behaviours` lists them")
    if bool(value) != bool(SETTINGS[name].values):
        raise _wrong(name, value)
    return Told(who, name, value)


def _wrong(name: str, value: str) -> BadConfiguration:
    wanted = SETTINGS[name].values
    return BadConfiguration(
        f"{name} takes {wanted}, not {value!r}" if wanted else f"{name} takes no value: leave {value!r} away"
    )


def _words(of: Iterable[Enum]) -> str:
    return " | ".join(_word(each) for each in of)


def _word(each: Enum) -> str:
    return each.value if isinstance(each.value, str) else each.name.lower()


def _number(text: str) -> int | None:
    return None if text == _NONE else int(text)


def _habit(field: str, of: type[Enum], means: str) -> Setting:
    def tell(subject: Subject, value: str) -> Done:
        return Done(msgspec.structs.replace(subject.habits, **{field: _picked(of, value)}))

    return Setting(_words(of), means, tell)


def _picked(of: type[Enum], value: str) -> Enum:
    found = {_word(each): each for each in of}
    return found[value]


def _amount(field: str, values: str, means: str) -> Setting:
    def tell(subject: Subject, value: str) -> Done:
        amount = float(value)
        if amount < 0 or (values == _SHARE and amount > 1):
            raise ValueError(value)
        return Done(msgspec.structs.replace(subject.habits, **{field: amount}))

    return Setting(values, means, tell)


def _switch(field: str, of: type[Enum], means: str) -> Setting:
    def tell(subject: Subject, value: str) -> Done:
        card = subject.euicc
        card.switches = msgspec.structs.replace(card.switches, **{field: _picked(of, value)})
        return Done(subject.habits)

    return Setting(_words(of), means, tell)


def _limit(field: str, means: str) -> Setting:
    def tell(subject: Subject, value: str) -> Done:
        card = subject.euicc
        card.switches = msgspec.structs.replace(card.switches, **{field: _number(value)})
        return Done(subject.habits)

    return Setting("NUMBER | -", means, tell)


def _act(values: str, means: str, act: Callable[[Subject, str], int]) -> Setting:
    return Setting(values, means, lambda subject, value: Done(subject.habits, act(subject, value)))


def _condition(subject: Subject, value: str) -> int:
    subject.euicc.set_condition(Condition(value))
    return _OK


def _refuse(subject: Subject, value: str) -> int:
    what, _, rest = value.partition("/")
    code, _, times = rest.partition("*")
    subject.euicc.provocations.refuse(what, code_of(what, code), int(times) if times else None)
    return _OK


def _obey(subject: Subject, _value: str) -> int:
    subject.euicc.provocations.obey()
    return _OK


def _profile_change(field: str) -> Callable[[Subject, str], int]:
    """Sets `field` of a profile: `B/1,2` its policy rules, `B` a mark."""

    def act(subject: Subject, value: str) -> int:
        name, _, rules = value.partition("/")
        changed: object = frozenset(int(rule) for rule in rules.split(",") if rule) if field == "ppr" else True
        iccid, state = subject.profiles[name], subject.euicc.state
        profiles = tuple(
            msgspec.structs.replace(held, **{field: changed}) if held.iccid == iccid else held
            for held in state.profiles
        )
        subject.euicc.state = msgspec.structs.replace(state, profiles=profiles)
        return _OK

    return act


def _install(subject: Subject, value: str) -> int:
    held = subject.euicc.state.profiles
    subject.euicc.install(Profile(parse_iccid(value), aid(len(held) + 1), False, "Installed", "C"))
    return _OK


def _reset(subject: Subject, value: str) -> int:
    tag = 0xBF34 if subject.euicc.switches.speaks is Speaks.V1_0_1 else 0xBF64
    answer = subject.euicc.memory_reset(tlv(tag, bits(0x82, *(int(bit) for bit in value.split(",")))))
    return answer[5]


def _new_device(subject: Subject, value: str) -> int:
    tac = bytes.fromhex(value)
    if len(tac) != _TAC_LENGTH:
        raise ValueError(value)
    subject.euicc.move_to(Terminal(tac))
    return _OK


def _counter(subject: Subject, value: str) -> int:
    for entry in subject.euicc.associations.entries:
        subject.euicc.set_counter(entry.eim_id, int(value))
    return _OK


def _change(subject: Subject, value: str) -> int:
    subject.euicc.pretend_change(_CAUSES[value])
    return _OK


def _plmn(subject: Subject, value: str) -> Done:
    return Done(msgspec.structs.replace(subject.habits, plmn=None if value == _NONE else bytes.fromhex(value)))


def _polls_as(subject: Subject, value: str) -> Done:
    return Done(msgspec.structs.replace(subject.habits, polls_as=None if value == _NONE else parse_eid(value)))


_TAC_LENGTH: Final = 4
_SHARE: Final = "0..1"
_CAUSES: Final = {
    "otherEim": Cause.OTHER_EIM,
    "fallback": Cause.FALLBACK,
    "emergencyProfile": Cause.EMERGENCY_PROFILE,
    "local": Cause.LOCAL,
    "reset": Cause.RESET,
    "immediateEnableProfile": Cause.IMMEDIATE_ENABLE,
    "deviceChange": Cause.DEVICE_CHANGE,
    "undefined": Cause.UNDEFINED,
}

SETTINGS: Final[Mapping[str, Setting]] = {
    # What the card answers.
    "refuse": _act(
        "WHAT/CODE[*TIMES]",
        "answer WHAT with CODE, a number or the standard's name, so often or always; WHAT: " + ", ".join(CODES),
        _refuse,
    ),
    "obey": _act("", "refuse nothing any more", _obey),
    "condition": _act(_words(Condition), "what occupies the card", _condition),
    "ppr": _act("A|B/RULES", "policy rules of a profile: 1 no disabling, 2 no deletion", _profile_change("ppr")),
    "fallbackAllowed": _act("A|B", "the profile may carry the Fallback Attribute", _profile_change("fallback_allowed")),
    "emergencyProfile": _act("A|B", "the profile is for emergency calls", _profile_change("emergency")),
    "counter": _act("NUMBER", "the counter the card accepted last: ahead of its eIM's, or behind", _counter),
    # What its version and its maker made of it.
    "speaks": _switch("speaks", Speaks, "SGP.32 version of card and device"),
    "form": _switch("form", SignatureForm, "what a result's signature covers behind the data"),
    "coding": _switch("coding", SignatureCoding, "how a signature is written"),
    "shape": _switch("shape", ResultShape, "the tag around a signed result: A0, or a bare 30"),
    "curves": _switch("curves", Curves, "keys of eIMs the card can use: also those on another curve than its own"),
    "tagLists": _switch("tag_lists", TagLists, "data requests in words of another version: left out, or refused"),
    "profileTags": _switch(
        "profile_tags", ProfileTags, "listings that name tags: answered, refused, or not understood"
    ),
    "notificationForm": _switch("notifications", NotificationForm, "notifications with certificates or without"),
    "unsigned": _switch("unsigned", UnsignedErrors, "whether unsigned errors tell the association token"),
    "largestPackage": _limit("largest_package", "octets of a package; more is sizeOverflow"),
    "largestResult": _limit("largest_result", "octets of all results; more is resultSizeOverflow"),
    "roomForEims": _limit("room_for_eims", "eIMs the card can keep; more is insufficientMemory"),
    # What the device does.
    "naming": _habit("naming", Naming, "whether results name the card (5A)"),
    "carrier": _habit("carrier", Carrier, "what carries a result"),
    "connections": _habit("connections", Connections, "how long a connection lasts"),
    "notifications": _habit("notifications", Notifications, "when notifications are handed in"),
    "reporting": _habit("reporting", Reporting, "when results are handed in"),
    "afterDeath": _habit("after_death", AfterDeath, "what happens to an unreported result after a loss of power"),
    "lossy": _amount("lossy", _SHARE, "probability that an exchange is cut"),
    "duplicating": _amount("duplicating", _SHARE, "probability that a result is sent twice"),
    "dies": _amount("dies", _SHARE, "probability of power loss before a result is reported"),
    "delay": _amount("delay", "SECONDS", "longest pause before a request"),
    "plmn": Setting("HEX | -", "the network told with each poll, 3 octets: 62F210 is 262-01", _plmn),
    "pollsAs": Setting("EID | -", "take the card for another one, and poll under that name", _polls_as),
    # What happens to it, once.
    "fallBack": _act("", "the fallback profile takes over", lambda subject, _: subject.euicc.fall_back()),
    "returnFromFallback": _act("", "and gives back", lambda subject, _: subject.euicc.return_from_fallback()),
    "emergencyCall": _act(
        "", "the emergency profile takes over", lambda subject, _: subject.euicc.begin_emergency_call()
    ),
    "emergencyCallEnds": _act("", "and gives back", lambda subject, _: subject.euicc.end_emergency_call()),
    "install": _act("ICCID", "a profile was downloaded", _install),
    "immediateEnable": _act("", "and is enabled at once", lambda subject, _: subject.euicc.enable_immediately()),
    "memoryReset": _act("BITS", "the card forgets: 0 operational profiles, 2 default SM-DP+, 5 eIMs ..", _reset),
    "newDevice": _act("TAC", "the card is in another device, 8 hex digits", _new_device),
    "stateChange": _act(" | ".join(_CAUSES), "the next poll says that something changed, though nothing did", _change),
}
