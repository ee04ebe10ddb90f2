"""Events: what happened to a card or to a webhook, and the CloudEvent that tells it (CloudEvents 1.0).

The members of `Happening` are all there are: who records an event names one of them, and docs/events.md lists them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final
from uuid import UUID

import msgspec

from eim.domain.explanations import meaning_of
from eim.domain.ids import Eid, format_eid

_TYPE: Final = "eim."  # in front of every CloudEvents type of ours
_SCHEMA: Final = "urn:eim:event:"
ANY: Final = "*"


class Happening(Enum):
    """(noun.past as in the table, the version of its data, what it tells).

    Within a version fields of `data` are added, never removed or given another meaning; what needs more is a new
    version, which is said in `dataschema`.
    """

    EUICC_ONBOARDED = ("euicc.onboarded", 1, "An operator onboarded the card.")
    EUICC_EDITED = ("euicc.edited", 1, "An operator changed its label, tags, group, time zone, or whether it can sign.")
    EUICC_OFFBOARDED = ("euicc.offboarded", 1, "An operator took the card out of this eIM; `counter` is the last one.")
    EUICC_SEEDED = ("euicc.seeded", 1, "The card came with a seeded history, for trials and tests.")
    EUICC_INTRODUCED = ("euicc.introduced", 1, "The card told enough of itself that signed packages can be made.")
    EUICC_CHANGED = ("euicc.changed", 1, "The device reported a change of state; `cause` is its word for it.")
    EUICC_CHANGED_ELSEWHERE = ("euicc.changed_elsewhere", 1, "Another eIM changed something on the card.")
    EUICC_CHANGED_LOCALLY = ("euicc.changed_locally", 1, "The device itself changed something on the card.")
    EUICC_NETWORK_CHANGED = ("euicc.network_changed", 1, "The device is in another network (PLMN) than before.")
    EUICC_DEVICE_CHANGED = ("euicc.device_changed", 1, "The card is in another device, or its agent was changed.")
    EUICC_FALLBACK_ENTERED = ("euicc.fallback_entered", 1, "The device lost its network and uses the fallback profile.")
    EUICC_FALLBACK_LEFT = ("euicc.fallback_left", 1, "The device went back from the fallback profile.")
    EUICC_IMMEDIATELY_ENABLED = ("euicc.immediately_enabled", 1, "A downloaded profile was enabled without an order.")
    EUICC_ROLLED_BACK = ("euicc.rolled_back", 1, "The card went back to the profile it used before.")
    EUICC_EMERGENCY_PROFILE = ("euicc.emergency_profile", 1, "The emergency profile was switched on or off.")
    EUICC_ECALL_STARTED = ("euicc.ecall_started", 1, "The card is in an emergency call; what was to be done waits.")
    EUICC_ECALL_ENDED = ("euicc.ecall_ended", 1, "The card answers again after an emergency call.")
    EUICC_RESET = ("euicc.reset", 1, "The card's memory was reset: profiles, addresses or eIMs may be gone.")
    EUICC_ORPHANED = ("euicc.orphaned", 1, "Alarm: the card knows this eIM no more; nothing goes out to it.")
    EUICC_SUSPECTED = ("euicc.suspected", 1, "Alarm: two cards may share this EID; `why` and `evidence` say more.")
    EUICC_QUARANTINED = ("euicc.quarantined", 1, "Nothing goes out to the card until an operator releases it.")
    EUICC_RELEASED = (
        "euicc.released",
        1,
        "The card is trusted again; `by` says who found so.",
    )
    EUICC_DENIED = ("euicc.denied", 1, "The card fell under a denial: nothing goes out to it.")
    EUICC_ADMITTED = ("euicc.admitted", 1, "The card falls under no denial any more.")
    EUICC_PROVEN = ("euicc.proven", 1, "A first signature of the card verified; its form is pinned from now on.")
    EUICC_KEY_CHANGED = ("euicc.key_changed", 1, "Alarm: a certificate with another key came for a known EID.")
    EUICC_TOKEN_DIFFERS = ("euicc.token_differs", 1, "Alarm: the card reports another association token.")
    EUICC_COUNTER_JUMPED = ("euicc.counter_jumped", 1, "The card's counter was ahead, so ours was moved past it.")
    EUICC_DRIFT = ("euicc.drift", 1, "The card is not as we believed; `differences` says what each of the two says.")
    EUICC_COUNTER_HIGH = ("euicc.counter_high", 1, "Alarm: the card's counter has passed 90 % of its ceiling.")
    EUICC_STALLED = ("euicc.stalled", 1, "Alarm: nothing more is signed for the card; `reason` says why.")
    EUICC_RESUMED = ("euicc.resumed", 1, "An operator let a stalled card go on.")
    EUICC_HANDOVER = ("euicc.handover", 1, "The card's hand-over to or from another eIM reached `stage`.")
    EUICC_KEY_TURNED = ("euicc.key_turned", 1, "The card obeys another key of ours from now on.")
    CERTIFICATE_REFUSED = ("certificate.refused", 1, "The card's certificate is not believed; `why` says the reason.")
    ORDER_PLACED = ("order.placed", 1, "An order for very many cards begins: their operations have no `accepted` each.")
    ORDER_SPREAD = ("order.spread", 1, "Such an order has reached all of its cards, or was stopped.")
    OPERATION_ACCEPTED = ("operation.accepted", 1, "An operation was ordered and will be done.")
    OPERATION_POSTPONED = ("operation.postponed", 1, "The card did not execute it now; it is sent again later.")
    OPERATION_PARKED = ("operation.parked", 1, "It could not be prepared several times; an operator resumes it.")
    OPERATION_RESUMED = ("operation.resumed", 1, "An operator let a parked operation go on.")
    OPERATION_IN_DOUBT = ("operation.in_doubt", 1, "It is not known whether the card executed it; the card is asked.")
    OPERATION_DONE = ("operation.done", 1, "The card executed the operation and signed that it did.")
    OPERATION_FAILED = ("operation.failed", 1, "The operation ended without effect; `reason` says why.")
    OPERATION_WITHDRAWN = ("operation.withdrawn", 1, "The operation was taken back before the card had it.")
    OPERATION_EXPIRED = ("operation.expired", 1, "Its time ran out before the card had it.")
    RESULT_UNSIGNED = ("result.unsigned", 1, "An error without signature came; by itself it ends nothing.")
    RESULT_REFUSED = ("result.refused", 1, "A result was not believed, or can't be read; it is kept as evidence.")
    RESULT_FOREIGN = ("result.foreign", 1, "The card brought a result that belongs to another eIM.")
    DOWNLOAD_REPORTED = ("download.reported", 1, "The card reported the end of a profile download.")
    NOTIFICATION_STORED = ("notification.stored", 1, "A notification for an SM-DP+ came and is kept.")
    DENIAL_ADDED = ("denial.added", 1, "An operator put a card, a certificate or a maker on the deny-list.")
    DENIAL_LIFTED = ("denial.lifted", 1, "An operator took a denial back.")
    NOTIFICATION_DELIVERED = ("notification.delivered", 1, "Its SM-DP+ took a notification.")
    NOTIFICATION_HELD = ("notification.held", 1, "A notification may not go, or not yet; `reason` says why.")
    NOTIFICATION_DELAYED = ("notification.delayed", 1, "Alarm: a notification is here for too long; it is still tried.")
    NOTIFICATION_GIVEN_UP = ("notification.given_up", 1, "An operator gave a notification up; it goes nowhere.")
    WEBHOOK_TESTED = ("webhook.tested", 1, "A test delivery was asked for; it goes to that webhook only.")
    WEBHOOK_DISABLED = ("webhook.disabled", 1, "A webhook failed for too long, or answered 410, and was switched off.")

    def __init__(self, text: str, version: int, meaning: str) -> None:
        self.text = text
        self.version = version
        self.meaning = meaning

    @property
    def type(self) -> str:
        """Its CloudEvents type: eim.operation.done."""
        return _TYPE + self.text


def kind_of(text: str) -> Happening:
    """The kind called `text`, as eim's own states are: operation.done. Raises ValueError for one that is not listed."""
    try:
        return _BY_TEXT[text]
    except KeyError:
        raise ValueError(f"there is no kind of event {text!r}: add it to eim.domain.event.Happening") from None


class CloudEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event as it leaves us, in CloudEvents' JSON format. `source` and `id` together are unique.

    The last three are extension attributes, there where something went wrong: what that means, who has to act, and how.
    """

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    data: Mapping[str, object]
    dataschema: str
    specversion: str = msgspec.field(default_factory=lambda: "1.0")
    datacontenttype: str = msgspec.field(default_factory=lambda: "application/json")
    means: str | None = None
    owner: str | None = None
    nextstep: str | None = None


class Origin(msgspec.Struct, frozen=True):
    """Where and when an event happened. `eid` is None for one that is of no card."""

    id: UUID
    eid: Eid | None
    at: datetime
    eim_id: str | None  # of the tenant's first identity


def cloud_event(origin: Origin, kind: str, data: Mapping[str, object]) -> CloudEvent:
    """The event `kind` (as in the table; one of an older release need not be listed any more)."""
    known, meaning = _BY_TEXT.get(kind), meaning_of(kind, data)
    return CloudEvent(
        id=str(origin.id),
        source=f"/eims/{origin.eim_id or '-'}",
        type=_TYPE + kind,
        subject=f"eid/{format_eid(origin.eid)}" if origin.eid else _subject(data),
        time=origin.at,
        data=data,
        dataschema=schema_of(known) if known else f"{_SCHEMA}{kind}:1",
        means=meaning.means if meaning else None,
        owner=meaning.owner if meaning else None,
        nextstep=meaning.next_step if meaning else None,
    )


def schema_of(kind: Happening) -> str:
    """What names the meaning of its data, version and all; the schema itself is in the interface's description."""
    return f"{_SCHEMA}{kind.text}:{kind.version}"


def _subject(data: Mapping[str, object]) -> str:
    """What an event of no card is about."""
    for what in ("denial", "order"):
        if what in data:
            return f"{what}/{data[what]}"
    return f"webhook/{data.get('webhook', '-')}"


def is_type(pattern: str) -> bool:
    """Whether a filter may say so: a listed type, or `eim.operation.*` or `eim.*` for all that begin so."""
    if pattern.endswith(f".{ANY}"):
        return any(kind.type.startswith(pattern[:-1]) for kind in Happening)
    return pattern.removeprefix(_TYPE) in _BY_TEXT and pattern.startswith(_TYPE)


def kinds_of(patterns: Sequence[str]) -> tuple[str, ...]:
    """What the table calls the kinds that fit one of `patterns`; all of them when there is no pattern."""
    if not patterns:
        return tuple(_BY_TEXT)
    return tuple(kind.text for kind in Happening if any(_fits(kind.type, pattern) for pattern in patterns))


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith(f".{ANY}") else name == pattern


_BY_TEXT: Final = {kind.text: kind for kind in Happening}
