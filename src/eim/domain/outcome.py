"""What a signed result means for the operation it answers. A result code is data, not an exception."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from eim.domain.operation import Kind, State

# SGP.32 section 2.11.2.1: the same number means different things in different results.
_PROFILE: Final = {1: "iccidOrAidNotFound", 3: "disallowedByPolicy", 5: "catBusy", 127: "undefinedError"}
_CODES: Final[Mapping[Kind, Mapping[int, str]]] = {
    Kind.ENABLE: _PROFILE | {2: "profileNotInDisabledState", 20: "rollbackNotAvailable"},
    Kind.DISABLE: _PROFILE | {2: "profileNotInEnabledState"},
    Kind.DELETE: _PROFILE | {2: "profileNotInDisabledState", 20: "rollbackNotAvailable", 21: "returnFallbackProfile"},
    Kind.LIST_PROFILES: {1: "incorrectInputValues", 11: "profileChangeOngoing", 127: "undefinedError"},
    Kind.DATA_REQUEST: {1: "incorrectTagList", 5: "euiccCiPKIdNotFound", 104: "ecallActive", 127: "undefinedError"},
}
_TERMINATED: Final = {1: "resultSizeOverflow", 2: "unknownOrDamagedCommand", 3: "interruption", 127: "undefinedError"}
_PACKAGE_ERRORS: Final = {
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


class Outcome(msgspec.Struct, frozen=True):
    """How an operation ended: DONE, or FAILED with the standard's name of the reason."""

    state: State
    reason: str
    deviating: bool = False  # the card put its code where the standard has another one

    @property
    def done(self) -> bool:
        return self.state is State.DONE


def outcome_of(kind: Kind, codes: Sequence[Code]) -> Outcome:
    """How an operation of `kind`, alone in its package, ended by these results. Absence never counts as success.

    A rollback that went well overrules the result before it: the card took the change back (SGP.32 section 3.3.2).
    """
    if any(c.kind == "rollback" and c.code == 0 for c in codes):
        return Outcome(State.FAILED, "rolledBack")
    for code in codes:
        if code.kind == kind.value:
            return _named(kind, code.code)
    for code in codes:
        if code.kind == "processingTerminated":
            return _terminated(kind, code.code)
    return Outcome(State.FAILED, "noResult")


def package_error(code: int) -> str:
    """The standard's name of a euiccPackageErrorCode."""
    return _PACKAGE_ERRORS.get(code, f"error{code}")


def data_error(code: int) -> str:
    """The standard's name of an ipaEuiccDataErrorCode."""
    return _CODES[Kind.DATA_REQUEST].get(code, f"error{code}")


def _named(kind: Kind, code: int | None) -> Outcome:
    if not code:
        return Outcome(State.DONE, "ok")
    return Outcome(State.FAILED, _CODES[kind].get(code, f"error{code}"))


def _terminated(kind: Kind, code: int | None) -> Outcome:
    """Some cards answer `02 01 xx` where a tagged result is due; 0 is no reason to terminate, so it means "ok"."""
    if code == 0:
        return Outcome(State.DONE, "ok", deviating=True)
    if code is not None and code not in _TERMINATED and code in _CODES[kind]:
        return Outcome(State.FAILED, _CODES[kind][code], deviating=True)
    return Outcome(State.FAILED, _TERMINATED.get(code or 0, f"terminated{code}"))
