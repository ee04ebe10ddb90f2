"""How an operation stands, in a sentence for who runs the fleet, and what to do next. The same words everywhere."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.explanations import REASONS, Meaning
from eim.domain.operation import State
from eim.domain.waiting import Held

_NOTHING: Final = "nothing"

# What each state means, whatever led there.
STATES: Final[Mapping[State, Meaning]] = {
    State.ACCEPTED: Meaning(
        "it waits to be signed, or for what goes out before it",
        "nothing: that takes a second once it is due; if it stays so, see `eim devices show EID` (is the card "
        "introduced?) and `eim doctor`",
    ),
    State.SEALED: Meaning(
        "it is signed and waits for the card to call",
        "nothing: it goes out when the card calls; until then it can be withdrawn as if it had never been",
    ),
    State.OUT: Meaning(
        "it was handed out, and the card has not answered yet",
        "nothing: the same octets are given at every call until the answer comes; withdraw it to have the card asked",
    ),
    State.IN_DOUBT: Meaning(
        "the card may have executed it, and nobody knows yet",
        "nothing: at its next calls the card is asked for the results it keeps, then for its lists; its answer "
        "decides, however late it comes",
    ),
    State.DONE: Meaning("the card executed it and signed that it did", _NOTHING),
    State.FAILED: Meaning("it ended without effect", "see the reason, then order it again"),
    State.WITHDRAWN: Meaning("it was taken back in time: the card never had it", _NOTHING),
    State.EXPIRED: Meaning(
        "its time ran out before the card called: the card never had it", "see when the device calls; order it again"
    ),
}
_DOUBTS: Final[Mapping[str, str]] = {
    "withdrawn": "it was withdrawn when the card had it already, so the card may have executed it",
    "expired": "its time ran out when the card had it already, so the card may have executed it",
    "replay": "the card says that it knows this package: it was executed, and its result was lost on the way",
    "unsigned": "an error came that anybody could have sent, so it is not known what the card did",
    "quarantined": "it was out when the card was put in quarantine; it is found out when the card is released",
    "denied": "it was out when the card was denied; it is found out when the denial is lifted",
    "unverified": "its result came, but can't be verified before the card's certificate is known",
}


class Standing(msgspec.Struct, frozen=True):
    """What a sentence about an operation is made of."""

    id: UUID
    state: State
    not_before: datetime
    held: Held | None = None
    after: UUID | None = None
    after_event: str | None = None
    window: str | None = None
    attempts: int = 0
    parked: str | None = None
    doubt: str | None = None
    outcome: Mapping[str, object] = {}
    handed_at: datetime | None = None


def explain(known: Standing, now: datetime) -> Meaning:
    """How it stands, and the next step."""
    match known.state:
        case State.ACCEPTED:
            return _accepted(known, now)
        case State.OUT if known.handed_at is not None:
            means = f"it was handed out at {_time(known.handed_at)}, and the card has not answered yet"
            return Meaning(means, STATES[State.OUT].next_step)
        case State.IN_DOUBT:
            means = _DOUBTS.get(known.doubt or "", STATES[State.IN_DOUBT].means)
            return Meaning(means, STATES[State.IN_DOUBT].next_step)
        case State.DONE:
            return Meaning(_done(known.outcome), _NOTHING)
        case State.FAILED:
            return _failed(known)
    return STATES[known.state]


def _accepted(known: Standing, now: datetime) -> Meaning:
    if known.held is not None:
        return _held(known)
    if known.not_before <= now:
        return STATES[State.ACCEPTED]
    when = _time(known.not_before)
    if known.parked is not None:
        return Meaning(f"it could not be prepared ({known.parked}), and is tried again at {when}", _NOTHING)
    if known.attempts:
        reason = known.outcome.get("reason", "the card could not do it")
        return Meaning(
            f"the card did not do it ({reason}); it goes out again at {when} or later, as try {known.attempts + 1}",
            "nothing; withdraw it if it is not wanted any more",
        )
    if known.window is not None:
        return Meaning(f"its window ({known.window}) opens at {when}", _NOTHING)
    return Meaning(f"its time has not come: it goes out at {when} or later", _NOTHING)


def _held(known: Standing) -> Meaning:
    match known.held:
        case Held.OPERATION:
            return Meaning(
                f"it goes out after the success of operation {known.after}",
                "nothing; should that one not succeed, this one is skipped",
            )
        case Held.CONTACT:
            return Meaning("it waits for the card to call", "nothing; `eim devices show EID` says when it last did")
        case Held.EVENT:
            return Meaning(f"it waits for the event {known.after_event} of the card", _NOTHING)
    return Meaning(
        f"it is parked, for it could not be prepared several times in a row: {known.parked}",
        f"mend that, then `eim operations resume {known.id}`; or withdraw it",
    )


def _done(outcome: Mapping[str, object]) -> str:
    if outcome.get("resolved_by") == "inventory":
        return "the card's answer was lost, but its own list shows that it was done"
    if outcome.get("late"):
        return "the card executed it; its answer came late, was verified, and counts"
    return STATES[State.DONE].means


def _failed(known: Standing) -> Meaning:
    reason = str(known.outcome.get("reason", ""))
    found = REASONS.get(reason)
    if found is None:
        return Meaning(f"it ended without effect: {reason or 'no reason is known'}", STATES[State.FAILED].next_step)
    tries = f", {known.attempts + 1} times" if known.attempts else ""
    return Meaning(f"it ended without effect ({reason}{tries}): {found.means}", found.next_step)


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
