"""What the standard's names mean to who runs the fleet, and what to do next. Each is one sentence and one step."""

from collections.abc import Mapping
from typing import Final

import msgspec

from eim.domain.notification import EXPLAINED


class Meaning(msgspec.Struct, frozen=True):
    """In plain words; `next_step` is what an operator does now, "nothing: .." where the eIM does it by itself."""

    means: str
    next_step: str
    owner: str = "operator"  # who has to act


_LATER: Final = "nothing: it is sent again later by itself"
_LISTED: Final = "nothing: the card is asked for its profiles"
_MAKER: Final = "keep `eim devices trace EID --pcap FILE` of one try and ask the card's maker"


def _meaning(means: str, next_step: str, owner: str | None = None) -> Meaning:
    """`owner` where it is somebody else than the operator, or nobody."""
    by_itself = next_step.startswith("nothing")
    asks_maker = next_step.startswith(_MAKER) or next_step.endswith(_MAKER)
    return Meaning(means, next_step, owner or ("nobody" if by_itself else "card maker" if asks_maker else "operator"))


# By the standard's name (SGP.32 sections 2.11.1, 2.11.2; SGP.22 section 5.7), and by the names of our own outcomes.
REASONS: Final[Mapping[str, Meaning]] = {
    "iccidOrAidNotFound": _meaning(
        "the card has no such profile",
        "compare with `eim devices show EID`; if that is stale, order listProfileInfo and order again",
    ),
    "profileNotInDisabledState": _meaning(
        "the profile is enabled, so it can be neither enabled again nor deleted",
        "look at `eim devices show EID`; to delete it, enable another profile first",
    ),
    "profileNotInEnabledState": _meaning(
        "the profile is disabled already", "nothing, if that was wanted: see `eim devices show EID`"
    ),
    "disallowedByPolicy": _meaning(
        "the profile's own policy rules (PPR) forbid it: ppr1 disabling, ppr2 deletion",
        "ask the profile's owner to lift the rule; no eIM can",
        "profile owner",
    ),
    "catBusy": _meaning(
        "the device was in the middle of a card command, a call for example",
        "order it again when the device is idle",
    ),
    "rollbackNotAvailable": _meaning(
        "there is no profile to go back to, and a way back was asked for",
        "order it again without rollback if the device may be cut off when the new profile doesn't work",
    ),
    "returnFallbackProfile": _meaning(
        "the card is using its fallback profile and needs this one to return to",
        "wait until the device has left the fallback profile, then order again",
    ),
    "rolledBack": _meaning(
        "the device could not report over the new profile, so the card went back to the old one",
        "check coverage, APN and the line's status with the carrier, then order again",
        "carrier",
    ),
    "fallbackNotAllowed": _meaning(
        "the profile's owner doesn't allow it as fallback profile",
        "choose another profile as fallback",
        "profile owner",
    ),
    "fallbackProfileEnabled": _meaning(
        "the fallback profile is enabled now, so the attribute can't be moved", "enable another profile first"
    ),
    "noFallbackAttribute": _meaning("no profile has the fallback attribute", "nothing: there is none to unset"),
    "incorrectInputValues": _meaning("the card did not understand what was asked for", _MAKER),
    "profileChangeOngoing": _meaning("the card is changing its profile right now", "order it again in a minute"),
    "insufficientMemory": _meaning(
        "the card's memory is full", "delete a profile that isn't needed (`eim devices show EID` lists them)"
    ),
    "commandError": _meaning("the card refused the command as a whole", _MAKER),
    "resultSizeOverflow": _meaning(
        "the answer would have been larger than the card can send",
        "ask for less: listProfileInfo of one ICCID, or with fewer tags",
    ),
    "unknownOrDamagedCommand": _meaning(
        "the card doesn't know this command: its version of SGP.32 may be older",
        "see what it speaks with `eim devices show EID`",
    ),
    "interruption": _meaning("the card was interrupted, by a loss of power for example", "order it again"),
    "invalidEid": _meaning(
        "the package was for another EID than the card's: the device mixed up two cards",
        "check which card is in the device",
    ),
    "replayError": _meaning(
        "the card has accepted this counter or a higher one already: it executed the package and the result was "
        "lost, or its counter is ahead, as after a restore of our database",
        "nothing: the result is asked for, and the counter jumps past the card's if need be",
    ),
    "counterValueOutOfRange": _meaning(
        "the counter is above what this card can count to",
        "nothing while a lower one is left; then let another eIM that the card obeys delete and add this one",
    ),
    "counterExhausted": _meaning(
        "the counter of this association is at its end: nothing more can be signed for the card but its renewal",
        "make a newer key (`eim keys rotate`), then `eim associations renew IDENTITY EID`",
    ),
    "counterUnreachable": _meaning(
        "the card's counter is far ahead of ours, as if another eIM used our key: it called everything a replay",
        "find out who else signs with this key; `eim associations resume EID` tries again, further on",
    ),
    "eimNotListed": _meaning(
        "the card said that it added the new eIM, and doesn't list it", "order listEim and look; then begin anew"
    ),
    "eimStillListed": _meaning(
        "the card said that it deleted the old eIM, and still lists it", "order listEim and look; then begin anew"
    ),
    "keyUnknown": _meaning(
        "an updateEim got lost, and the card takes neither of the two keys: it may not know us any more",
        "ask the card's other eIM or its factory for its list of eIMs; `eim associations resume EID` tries again",
    ),
    "sizeOverflow": _meaning("the package is larger than this card takes", "order fewer things at once"),
    "ecallActive": _meaning("the device is in an emergency call", _LATER),
    "incorrectTagList": _meaning(
        "the device doesn't know one of the data asked for, as one of version 1.0.1",
        "nothing: it is asked in the words of the older version",
    ),
    "invalidPackageFormat": _meaning(
        "the device's agent could not read what it was given", "nothing: the card is asked; if it stays so, " + _MAKER
    ),
    "unknownPackage": _meaning(
        "the device's agent doesn't know this kind of package",
        "nothing: the card is asked; see what it speaks with `eim devices show EID`",
    ),
    "euiccCiPKIdNotFound": _meaning(
        "the card has no certificate under the issuer asked for", "see its issuers in `eim devices show EID`"
    ),
    "associatedEimAlreadyExists": _meaning("that eIM is on the card already", "use updateEim to change it"),
    "ciPKUnknown": _meaning("the card doesn't know this certificate issuer", "choose one that it lists"),
    "invalidAssociationToken": _meaning(
        "the card takes no association token from outside but -1, which asks it to draw one",
        "make the eIM configuration anew (`eim keys export`)",
    ),
    "lastEimDeleted": _meaning(
        "it was done, and no eIM is on the card any more",
        "nothing from here: an eIM has to be loaded into the card again over its device (AddInitialEim)",
    ),
    "eimNotFound": _meaning("that eIM is not on the card", "compare with the card's own list: order listEim"),
    "undefinedError": _meaning("the card gave no reason", f"order it once more; then {_MAKER}"),
    "noResult": _meaning(
        "the card executed the package but said nothing of this operation",
        "order listProfileInfo and see what is there",
    ),
    "notRun": _meaning(
        "the card stopped at a step before this one", "see why that one failed, and order the rest again"
    ),
    "notInVersion": _meaning(
        "the card speaks a version of SGP.32 that doesn't have this",
        "see what it speaks with `eim devices show EID`, and do it in another way",
    ),
    "notConfirmed": _meaning(
        "the result was lost, and no card can be asked whether this was done",
        "order it again: doing it twice does no harm",
    ),
    "partlyExecuted": _meaning(
        "the card's list shows some of the steps done and others not",
        "compare with `eim devices show EID`, and order what is missing",
    ),
    "superseded": _meaning("a later answer said all that this one would have", "nothing"),
    "notExecuted": _meaning("the card's inventory shows that it was not done", "order it again"),
    "dependencyFailed": _meaning(
        "the operation it comes after did not succeed, so it was never given to the card",
        "see why that one ended (`eim operations show ID`, ID as in `after`), then order both again",
    ),
    "withdrawn": _meaning("an operator took it back in time", "nothing"),
    "expired": _meaning(
        "its time ran out before the device fetched it", "see when the device calls, and order with more time"
    ),
    "unsigned": _meaning(
        "an error came that anybody could have sent: the card may not know us, or our association token is wrong",
        "nothing: the card is asked for its data; if it stays so, compare identity and token with the factory's",
    ),
    "replay": _meaning(
        "the card says it knows this counter: it may have executed the package", "nothing: the card is asked"
    ),
    "unverified": _meaning(
        "its result can't be verified, for its certificate isn't known yet", "nothing: the certificate is asked for"
    ),
    "quarantined": _meaning(
        "it was out when the card was put in quarantine", "nothing: it is found out when the card is released"
    ),
    "orphaned": _meaning(
        "it was out when the card turned out to know this eIM no more", "associate the card again, then release it"
    ),
    "denied": _meaning("it was out when the card was denied", "nothing: it is found out when the denial is lifted"),
    "conflict": _meaning("it contradicts what is there", "look at the operation: `eim operations show ID`"),
}

# By what happened, where no reason says more.
HAPPENINGS: Final[Mapping[str, Meaning]] = {
    "notification.delayed": _meaning(
        "its SM-DP+ did not take it for a long time, or it is held; it is still tried",
        "`eim notifications show` with its id, and `eim smdps list`: is that server well?",
    ),
    "result.refused": _meaning(
        "the signature doesn't verify with the card's key, or the result can't be read",
        "see which octets it covers: `eim devices trace EID`, then `eim decode`; a wrong token is the usual reason",
    ),
    "result.foreign": _meaning(
        "the card brought a result that belongs to no package of ours, or to another eIM",
        "expected after a restore and for an adopted card; otherwise find out who else manages it",
    ),
    "result.unsigned": REASONS["unsigned"],
    "result.unverified": REASONS["unverified"],
    "result.unverifiable": _meaning(
        "this card was marked as one that can't sign, so its result counts without proof",
        "nothing; don't use such cards beyond trials",
    ),
    "certificate.refused": _meaning(
        "the card's certificate doesn't lead to a root that is trusted here",
        "add the root of the card's issuer (docs/keys-and-trust.md), or find out why the card has this one",
    ),
    "euicc.key_changed": _meaning(
        "another key came for a known EID: a cloned or replaced card, or an attack",
        "stop ordering for this card until its maker has explained the second key",
    ),
    "euicc.token_differs": _meaning(
        "the card reports another association token than the one that was proven",
        "if packages are refused from now on, the association was made anew: onboard the card again",
    ),
    "euicc.changed_elsewhere": _meaning(
        "another eIM that the card obeys changed something on it",
        "find out which eIM that is: the card's own list names it (order listEim)",
    ),
    "euicc.changed_locally": _meaning("the device changed something on the card by itself", _LISTED),
    "euicc.network_changed": _meaning("the device registered with another network than before", "nothing"),
    "euicc.device_changed": _meaning(
        "device or agent describe themselves otherwise than before: the card was moved, or its software changed",
        "compare with `eim devices show EID`; if nobody moved the card, find out where it is",
    ),
    "euicc.fallback_entered": _meaning(
        "the device had no network with its profile, so the card uses its fallback profile now",
        "check coverage and the line's status with the carrier; the device goes back by itself",
    ),
    "euicc.fallback_left": _meaning("the device went back from its fallback profile", "nothing"),
    "euicc.immediately_enabled": _meaning("a profile was enabled by the device right after its download", _LISTED),
    "euicc.rolled_back": REASONS["rolledBack"],
    "euicc.emergency_profile": _meaning("the emergency profile was switched on or off", _LISTED),
    "euicc.ecall_started": REASONS["ecallActive"],
    "euicc.ecall_ended": _meaning("the card does again what it is asked", "nothing"),
    "euicc.reset": _meaning(
        "somebody reset the card's memory: profiles, addresses or the list of its eIMs may be gone",
        "see what is left with `eim devices show EID`; the card is asked at its next calls",
    ),
    "euicc.suspected": _meaning(
        "something happened that one card alone does not do: there may be a clone",
        "see the evidence, ask who has the card; `eim devices quarantine EID` keeps packages from it",
    ),
    "euicc.quarantined": _meaning(
        "nothing goes out to the card; what it brings is kept",
        "find out whether there is one card or two, then `eim devices release EID --reason ...`",
    ),
    "euicc.denied": _meaning("the card falls under a denial", "see it with `eim deny list`"),
    "euicc.counter_jumped": _meaning(
        "our counter was behind the card's and was moved past it", "nothing, unless you restored no backup"
    ),
    "euicc.drift": _meaning(
        "the card is not as we believed: something changed it without us, or a change was lost",
        "nothing, if you know why; our view is the card's now, and `eim devices show EID` tells it",
    ),
    "euicc.orphaned": _meaning(
        "our eIM was deleted on the card, or reset away, so the card executes none of our packages any more",
        "nothing, if another eIM took over: offboard it here; otherwise associate it again (AddInitialEim at the "
        "device, or addEim from another eIM) and then `eim devices release EID`",
    ),
    "euicc.counter_high": _meaning(
        "of the counters that one association has, nine of ten are used up",
        "nothing where renewal is automatic and there is a newer key; else `eim keys rotate`",
    ),
    "euicc.key_turned": _meaning("the card obeys another key of ours", "nothing"),
    "operation.in_doubt": _meaning(
        "whether the card executed it is not known", "nothing: the card is asked at its next calls"
    ),
    "operation.parked": _meaning(
        "it could not be prepared several times in a row, so it waits for an operator",
        "see why (`eim operations show ID`), mend that, then `eim operations resume ID`, or withdraw it",
    ),
    "operation.postponed": _meaning("the card could not do it now", _LATER),
}


_NOT_TAKEN_BACK: Final = _meaning(
    "the device could not report over the new profile and tried to go back, which the card could not",
    "nothing: the card is asked which profile is enabled",
)


def meaning_of(what: str, data: Mapping[str, object]) -> Meaning | None:
    """What an entry of a timeline means: by the error or reason it names, or by what it is; None: it needs no word."""
    if what == "notification.held":
        found = next((said for why, said in EXPLAINED.items() if why.value == data.get("reason")), None)
        return Meaning(found.means, found.next_step) if found else None
    if data.get("rollback", "ok") != "ok":
        return _NOT_TAKEN_BACK
    for name in (data.get("error"), data.get("reason")):
        if isinstance(name, str) and name != "ok" and name in REASONS:
            return REASONS[name]
    return HAPPENINGS.get(what)
