"""What a signed result means for the operation it answers. A result code is data, not an exception."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from eim.domain.ids import format_iccid
from eim.domain.operation import Kind, State
from eim.domain.step import AddEim, DeleteEim, Step, UpdateEim, eim_of, iccid_of, kind_of, name_of

OK: Final = "ok"
ROLLED_BACK: Final = "rolledBack"
_NOT_RUN: Final = "notRun"
_NO_RESULT: Final = "noResult"
_LAST_EIM_DELETED: Final = "lastEimDeleted"

# SGP.32 section 2.11.2.1: the same number means different things in different results.
_UNDEFINED: Final = {127: "undefinedError"}
_PROFILE: Final = {1: "iccidOrAidNotFound", 3: "disallowedByPolicy", 5: "catBusy"} | _UNDEFINED
_EIM: Final = {3: "ciPKUnknown", 6: "counterValueOutOfRange", 7: "commandError"} | _UNDEFINED
CODES: Final[Mapping[Kind, Mapping[int, str]]] = {
    Kind.ENABLE: _PROFILE | {2: "profileNotInDisabledState", 20: "rollbackNotAvailable"},
    Kind.DISABLE: _PROFILE | {2: "profileNotInEnabledState"},
    Kind.DELETE: _PROFILE | {2: "profileNotInDisabledState", 20: "rollbackNotAvailable", 21: "returnFallbackProfile"},
    Kind.LIST_PROFILES: {1: "incorrectInputValues", 11: "profileChangeOngoing"} | _UNDEFINED,
    Kind.GET_RAT: {},
    Kind.IMMEDIATE_ENABLE: {1: "insufficientMemory", 7: "commandError"} | _UNDEFINED,
    Kind.SET_FALLBACK: {1: "iccidOrAidNotFound", 2: "fallbackNotAllowed", 3: "fallbackProfileEnabled"} | _UNDEFINED,
    Kind.UNSET_FALLBACK: {2: "noFallbackAttribute", 3: "fallbackProfileEnabled", 7: "commandError"} | _UNDEFINED,
    Kind.SET_DP_ADDRESS: _UNDEFINED,
    Kind.ADD_EIM: _EIM | {1: "insufficientMemory", 2: "associatedEimAlreadyExists", 5: "invalidAssociationToken"},
    Kind.DELETE_EIM: {1: "eimNotFound", 2: _LAST_EIM_DELETED, 7: "commandError"} | _UNDEFINED,
    Kind.UPDATE_EIM: _EIM | {1: "eimNotFound"},
    Kind.LIST_EIM: _UNDEFINED,
    Kind.RENEW: _EIM | {1: "eimNotFound"},
    Kind.DATA_REQUEST: {1: "incorrectTagList", 5: "euiccCiPKIdNotFound", 104: "ecallActive"} | _UNDEFINED,
}
ROLLBACK: Final = _UNDEFINED
TERMINATED: Final = {1: "resultSizeOverflow", 2: "unknownOrDamagedCommand", 3: "interruption"} | _UNDEFINED
UNSIGNED_ERRORS: Final = {15: "sizeOverflow"} | _UNDEFINED  # euiccPackageErrorUnsigned; it has a code since v1.3
IPA_ERRORS: Final = {1: "invalidPackageFormat", 2: "unknownPackage"} | _UNDEFINED  # eimPackageResultResponseError
PACKAGE_ERRORS: Final = {
    3: "invalidEid",
    4: "replayError",
    6: "counterValueOutOfRange",
    15: "sizeOverflow",
    104: "ecallActive",
    127: "undefinedError",
}


class Code(msgspec.Struct, frozen=True):
    """One element of euiccResult: which operation it speaks of, and the number in it (None: none, so it went well)."""

    kind: str
    code: int | None


class StepOutcome(msgspec.Struct, frozen=True):
    """How one step of a package ended."""

    name: str
    reason: str  # the standard's name of the code; OK; or what its absence means
    done: bool
    code: int | None = None  # as the card wrote it
    place: int | None = None  # of its result in the list; None: there is none
    about: str | None = None  # the ICCID or the eimId

    @property
    def said(self) -> dict[str, object]:
        """As the outcome of the operation keeps it."""
        told: dict[str, object] = {"step": self.name, "reason": self.reason}
        if self.about is not None:
            told["about"] = self.about
        return told | ({"code": self.code} if self.code else {})


class Outcome(msgspec.Struct, frozen=True):
    """How an operation ended: DONE, or FAILED with the standard's name of the first reason."""

    state: State
    reason: str
    deviating: bool = False  # the card put its code where the standard has another one
    steps: tuple[StepOutcome, ...] = ()
    rollback: str | None = None  # what became of a rollback that the device tried

    @property
    def done(self) -> bool:
        return self.state is State.DONE


def outcome_of(steps: Sequence[Step], codes: Sequence[Code]) -> Outcome:
    """How an operation of these steps ended by these results. Absence never counts as success.

    A rollback that went well overrules the results before it: the card took the change back (SGP.32 section 3.3.2).
    """
    if len(steps) == 1:
        if len(codes) == 1 and codes[0].kind == name_of(steps[0]):
            return _ended(_judged(steps[0], codes[0].code, 0))
        if (deviating := _deviating(steps[0], codes)) is not None:
            return deviating
    ended = _each(steps, codes)
    rollback = next((_name(ROLLBACK, code.code) for code in codes if code.kind == "rollback"), None)
    if rollback == OK:
        return Outcome(State.FAILED, ROLLED_BACK, steps=ended, rollback=rollback)
    failed = next((step for step in ended if not step.done), None)
    if failed is not None:
        return Outcome(State.FAILED, failed.reason, steps=ended, rollback=rollback)
    reason = ended[0].reason if len(ended) == 1 else OK if ended else _NO_RESULT
    return Outcome(State.DONE if ended else State.FAILED, reason, steps=ended, rollback=rollback)


def package_error(code: int) -> str:
    """The standard's name of a euiccPackageErrorCode."""
    return PACKAGE_ERRORS.get(code, f"error{code}")


def unsigned_error(code: int | None) -> str | None:
    """The standard's name of the code in an error that the card did not sign; None: it has none."""
    return None if code is None else UNSIGNED_ERRORS.get(code, f"error{code}")


def ipa_error(code: int) -> str:
    """The standard's name of an eimPackageResultErrorCode: what the IPA says in the place of a result."""
    return IPA_ERRORS.get(code, f"error{code}")


def data_error(code: int) -> str:
    """The standard's name of an ipaEuiccDataErrorCode."""
    return CODES[Kind.DATA_REQUEST].get(code, f"error{code}")


def _each(steps: Sequence[Step], codes: Sequence[Code]) -> tuple[StepOutcome, ...]:
    """Each step with its own result: the first one of its kind that no step before has."""
    terminated = next((code.code for code in codes if code.kind == "processingTerminated"), None)
    ended: list[StepOutcome] = []
    used: set[int] = set()
    for step in steps:
        place = next((i for i, c in enumerate(codes) if i not in used and c.kind == name_of(step)), None)
        if place is not None:
            used.add(place)
            ended.append(_judged(step, codes[place].code, place))
            continue
        is_first = all(before.place is not None for before in ended)
        if terminated is not None and is_first:
            reason = TERMINATED.get(terminated, f"terminated{terminated}")
        else:
            stopped = terminated is not None or any(not before.done for before in ended)
            reason = _NOT_RUN if stopped else _NO_RESULT
        ended.append(StepOutcome(name_of(step), reason, False, about=_about(step)))
    return tuple(ended)


def _ended(alone: StepOutcome) -> Outcome:
    return Outcome(State.DONE if alone.done else State.FAILED, alone.reason, steps=(alone,))


def _judged(step: Step, code: int | None, place: int) -> StepOutcome:
    reason = _name(CODES[kind_of((step,))], code) if code else OK
    done = reason == OK or (isinstance(step, DeleteEim) and reason == _LAST_EIM_DELETED)
    return StepOutcome(name_of(step), reason, done, code, place, _about(step))


def _deviating(step: Step, codes: Sequence[Code]) -> Outcome | None:
    """Some cards answer `02 01 xx` where a tagged result is due; 0 is no reason to terminate, so it means "ok"."""
    if any(code.kind == name_of(step) for code in codes):
        return None
    code = next((c.code for c in codes if c.kind == "processingTerminated"), None)
    known = CODES[kind_of((step,))]
    if code is None or (code != 0 and (code in TERMINATED or code not in known)):
        return None
    judged = _judged(step, code, 0)
    ended = msgspec.structs.replace(judged, place=None)
    return Outcome(State.DONE if ended.done else State.FAILED, ended.reason, deviating=True, steps=(ended,))


def _about(step: Step) -> str | None:
    iccid = iccid_of(step)
    if iccid is not None:
        return format_iccid(iccid)
    return eim_of(step) if isinstance(step, AddEim | DeleteEim | UpdateEim) else None


def _name(names: Mapping[int, str], code: int | None) -> str:
    return OK if not code else names.get(code, f"error{code}")
