"""What travels over the operator's interface `/v1`: requests and answers, shared by server and client."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from eim import api_steps

_NO_NUL = api_steps.NO_NUL

EidText: TypeAlias = Annotated[str, Meta(max_length=64, pattern=_NO_NUL, description="the 32 digits of the EID")]
IccidText: TypeAlias = api_steps.IccidText
Label: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NO_NUL)]
Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)]
Group: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL, description="it belongs to one")]
TimeZone: TypeAlias = Annotated[
    str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$", description="as Europe/Berlin (IANA)")
]
Provider: TypeAlias = api_steps.Provider
EimIdText: TypeAlias = api_steps.EimIdText
Certificate: TypeAlias = Annotated[
    str, Meta(max_length=16_384, pattern=_NO_NUL, description="PEM, or the DER in base64")
]
Token: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1, description="the association token the card gave")]
Counter: TypeAlias = Annotated[int, Meta(ge=0, le=8_388_607, description="the last counterValue used with this card")]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=1000, description="entries a page")]
Cursor: TypeAlias = Annotated[str, Meta(max_length=500, description="`next` of the page before")]
Span: TypeAlias = Annotated[
    str, Meta(max_length=32, pattern=_NO_NUL, description="in place of `expires_at`: `18 months`, `6 weeks`, `P90D`")
]
WindowText: TypeAlias = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=_NO_NUL,
        description="when it may go out, by the eUICC's own clock: `22:00-06:00`, `Mon-Fri 22:00-06:00`; or by UTC",
    ),
]
Retries: TypeAlias = Annotated[
    int, Meta(ge=0, le=20, description="tries more at most, whatever the reason; by the reason when not said")
]
AfterEvent: TypeAlias = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=_NO_NUL,
        description="`contact` (the card calls), or an event of it: `euicc.network_changed`",
    ),
]
KindName: TypeAlias = Literal[
    "enable",
    "disable",
    "delete",
    "listProfileInfo",
    "getRAT",
    "configureImmediateEnable",
    "setFallbackAttribute",
    "unsetFallbackAttribute",
    "setDefaultDpAddress",
    "addEim",
    "deleteEim",
    "updateEim",
    "listEim",
    "ipaEuiccDataRequest",
    "package",
    "check",
]
ShownKind: TypeAlias = KindName | Literal["renewAssociation"]  # the eIM's own too
StateName: TypeAlias = Literal["accepted", "sealed", "out", "in_doubt", "done", "failed", "withdrawn", "expired"]
ScopeName: TypeAlias = Literal[
    "euiccs:read",
    "euiccs:write",
    "operations:read",
    "operations:write",
    "audit:read",
    "events:read",
    "webhooks:read",
    "webhooks:write",
    "admin",
    "tenants",
]
OnErrorName: TypeAlias = Literal["refuse", "skip"]
SpeaksName: TypeAlias = Literal["1.0.1", "1.1", "1.2", "1.3"]
Reason: TypeAlias = Annotated[str, Meta(min_length=3, max_length=500, pattern=_NO_NUL)]
Fields: TypeAlias = Annotated[
    str,
    Meta(
        max_length=500, pattern=r"^[a-z_0-9]+(,[a-z_0-9]+)*$", description="only these fields of each, as `eid,label`"
    ),
]


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """What every request has: a field we don't know is refused, not ignored."""


class Tagged(Struct, frozen=True):
    """What can be changed. `etag` is also the header ETag: send it as If-Match with the change."""

    etag: str


class Nothing(Request, frozen=True):
    """No body, or no query."""


class NewEuicc(Request, frozen=True):
    """One eUICC to onboard. An EID alone is enough: the rest completes itself at the first contact."""

    eid: EidText
    label: Label | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=32)] = ()
    identity: EimIdText | None = None
    association_token: Token | None = None
    counter: Counter | None = None
    euicc_certificate: Certificate | None = None
    eum_certificate: Certificate | None = None
    unverifiable: bool = False
    initial_counter: Counter | None = None
    group: Group | None = None
    time_zone: TimeZone | None = None


class NewEuiccAlone(NewEuicc, frozen=True):
    """One eUICC, and whether wrong check digits are meant."""

    allow_invalid_check_digits: bool = False


class NewEuiccs(Request, frozen=True):
    """A list of eUICCs: all are onboarded, or (`on_error` skip) the good ones."""

    euiccs: Annotated[tuple[NewEuicc, ...], Meta(min_length=1, max_length=10_000)]
    on_error: OnErrorName = "refuse"
    allow_invalid_check_digits: bool = False


class BadLine(Struct, frozen=True):
    """Why a line can't be taken. Lines count from 1."""

    line: int
    detail: str


class Onboarded(Struct, frozen=True):
    """What an onboarding did."""

    accepted: int
    eids: tuple[str, ...]
    bad_lines: tuple[BadLine, ...]


class EuiccEntry(Struct, frozen=True):
    """An eUICC in a listing."""

    eid: str
    label: str | None
    tags: tuple[str, ...]
    service_provider: str | None
    speaks: str | None
    created_at: datetime
    introduced_at: datetime | None
    last_seen_at: datetime | None
    inventory_at: datetime | None
    group: str | None = None
    time_zone: str | None = None


class AssociationView(Struct, frozen=True):
    """How this eUICC is bound to us."""

    identity: str
    counter: int
    association_token: int | None
    token_proven: bool
    signature_form: str | None
    signature_coding: str | None
    unverifiable: bool
    certified: bool
    curve: str | None
    ci_key_id: str | None
    key: int = 0  # of the identity: the key that it obeys
    next_key: int | None = None  # the one that an updateEim of ours gives it
    stalled: str | None = None  # why nothing is signed for it until an operator does something
    stalled_at: datetime | None = None
    handed_over_at: datetime | None = None  # since when another eIM has it
    handover: str | None = None  # the stage of its last hand-over between eIMs


class HeadView(Struct, frozen=True):
    """What is out with it, or would go out next."""

    operation: UUID
    counter: int | None
    out_since: datetime | None
    deliveries: int


class BarView(Struct, frozen=True):
    """Why nothing goes out to an eUICC; several may hold at once, and none does when all are null."""

    orphaned_at: datetime | None  # the card knows us no more
    quarantined_at: datetime | None
    quarantine_why: str | None
    denied_by: UUID | None  # the denial it fell under


class EimView(Struct, frozen=True):
    """An eIM that the card obeys."""

    eim_id: str
    id_type: Literal["oid", "fqdn", "proprietary"] | None  # null: the card did not say


class EuiccView(Tagged, frozen=True):
    """Everything known of one eUICC. The ETag is of what an operator writes on it.

    `settings`: defaultSmdpAddress, immediateEnable and rat as the card's results last told them; `eims`: what it obeys,
    null while it did not list them.
    """

    euicc: EuiccEntry
    association: AssociationView
    capabilities: Mapping[str, object]
    highest_seq_number: int | None
    plmn: str | None
    mailbox: HeadView | None
    notifications: Mapping[str, int]  # on their way to an SM-DP+: how many, by state
    bar: BarView | None = None  # null: nothing keeps packages from it
    ecall_since: datetime | None = None  # in an emergency call
    reset_at: datetime | None = None  # a memory reset was reported, and the card signed nothing since
    device: Mapping[str, str] = {}  # type allocation code and IMEI, as the agent gave their octets
    settings: Mapping[str, object] = {}
    eims: tuple[EimView, ...] | None = None
    eims_at: datetime | None = None


class ProfileView(Struct, frozen=True):
    """A profile on a card, as the card last told us."""

    eid: str
    iccid: str
    state: Literal["enabled", "disabled"]
    service_provider: str | None
    name: str | None
    nickname: str | None
    profile_class: int | None
    isdp_aid: str | None
    fallback: bool
    changed_at: datetime
    fallback_allowed: bool | None = None  # null: the card did not say
    pprs: tuple[str, ...] | None = None  # its policy rules; null: the card was not asked


class EventView(Struct, frozen=True):
    id: UUID
    eid: str | None  # null: of no card
    at: datetime
    kind: str
    data: Mapping[str, object]


class EuiccPage(Struct, frozen=True):
    items: tuple[EuiccEntry, ...]
    next: str | None


class Profiles(Struct, frozen=True):
    items: tuple[ProfileView, ...]


class EventPage(Struct, frozen=True):
    items: tuple[EventView, ...]
    next: str | None


class EuiccQuery(Request, frozen=True):
    limit: Limit = 100
    cursor: Cursor | None = None
    tag: Tag | None = None
    label: Label | None = None  # what the label starts with
    introduced: bool | None = None
    service_provider: Provider | None = None
    identity: EimIdText | None = None
    speaks: SpeaksName | None = None
    unverifiable: bool | None = None
    seen_after: Moment | None = None
    seen_before: Moment | None = None  # or never
    created_after: Moment | None = None
    created_before: Moment | None = None
    plmn: Annotated[str, Meta(pattern=r"^[0-9A-Fa-f]{6}$", description="as the device said it, 3 octets")] | None = None
    iccid: IccidText | None = None  # that it holds, enabled or not
    busy: bool | None = None  # whether an operation is open
    group: Group | None = None
    fields: Fields | None = None


class EuiccRead(Request, frozen=True):
    fields: Fields | None = None


class EuiccChange(Request, frozen=True):
    """What is given is replaced, the rest stays; null takes a label, group or time zone away.

    `unverifiable` true: this card can't sign, and what is sent in its name is believed. A change of it needs `reason`.
    """

    label: Label | UnsetType | None = UNSET
    tags: Annotated[tuple[Tag, ...], Meta(max_length=32)] | UnsetType = UNSET
    group: Group | UnsetType | None = UNSET
    time_zone: TimeZone | UnsetType | None = UNSET
    unverifiable: bool | UnsetType = UNSET
    reason: Reason | None = None


class OffboardQuery(Request, frozen=True):
    """Why it goes. `force`: even while operations are open."""

    reason: Reason
    force: bool = False


class Offboarded(Struct, frozen=True):
    """What was taken out. Who associates with this card again begins above `counter`; it is kept here, too."""

    eid: str
    identity: str
    counter: int
    association_token: int | None


class PageQuery(Request, frozen=True):
    limit: Limit = 100
    cursor: Cursor | None = None


class ProfileQuery(Request, frozen=True):
    iccid: IccidText


ProfileChoice: TypeAlias = api_steps.ProfileChoice


class OrderLine(Request, frozen=True):
    eid: EidText
    iccid: IccidText


class NewOrder(Request, frozen=True):
    """An operation for one eUICC or for many. Exactly one of `eid`, `eids`, `lines`, `all` says for which.

    Either `operation` says what is asked, where its name and a profile say all (`check`: whatever the card tells, three
    operations), or `steps` do: of one package, about profiles or about eIMs, never about both.
    """

    operation: KindName | None = None
    steps: api_steps.PackageSteps | None = None
    eid: EidText | None = None
    eids: Annotated[tuple[EidText, ...], Meta(min_length=1, max_length=100_000)] | None = None
    lines: Annotated[tuple[OrderLine, ...], Meta(min_length=1, max_length=100_000)] | None = None
    all: bool = False
    tag: Tag | None = None  # with `all`: only those that have it
    profile: ProfileChoice | None = None
    rollback: bool | None = None  # of enable; true unless said otherwise: who can't attach goes back
    priority: Literal["normal", "urgent"] = "normal"
    not_before: Moment | None = None
    expires_at: Moment | None = None
    on_error: OnErrorName = "refuse"
    force: bool = False
    reason: Reason | None = None
    confirm: Annotated[int, Meta(ge=1, le=100_000, description="how many operations are meant")] | None = None
    after: UUID | None = None  # with `eid`: another operation of that eUICC, which has to be done before
    after_event: AfterEvent | None = None
    expires_in: Span | None = None
    window: WindowText | None = None
    retries: Retries | None = None


class ChainStep(Request, frozen=True):
    """One step of a chain. It goes out after the success of the step before it, and after `after_event` since then."""

    operation: KindName | None = None
    steps: api_steps.PackageSteps | None = None
    profile: ProfileChoice | None = None
    rollback: bool | None = None
    after_event: AfterEvent | None = None
    not_before: Moment | None = None
    expires_at: Moment | None = None
    expires_in: Span | None = None
    window: WindowText | None = None
    retries: Retries | None = None


class NewChain(Request, frozen=True):
    """Operations for the same eUICCs, each after the success of the one before it. When one does not succeed, the
    rest is skipped: failed, with the reason dependencyFailed. All of it is accepted, or nothing."""

    eids: Annotated[tuple[EidText, ...], Meta(min_length=1, max_length=10_000)]
    steps: Annotated[tuple[ChainStep, ...], Meta(min_length=2, max_length=20)]
    priority: Literal["normal", "urgent"] = "normal"
    force: bool = False
    reason: Reason | None = None
    confirm: Annotated[int, Meta(ge=1, le=200_000, description="how many operations are meant")] | None = None


class PlacedLine(Struct, frozen=True):
    line: int
    eid: str
    operation: UUID


class OrderAccepted(Struct, frozen=True):
    """An order that stands. `operations` is empty for more than 1,000 lines: list them by `order`.

    `cards` (else null): it means so many that they are asked one after the other from now on; GET /v1/orders/{id} shows
    how far that is, and `accepted` is 0.
    """

    order: UUID
    accepted: int
    operations: tuple[PlacedLine, ...]
    bad_lines: tuple[BadLine, ...]
    cards: int | None = None


class ChainAccepted(Struct, frozen=True):
    """A chain that stands: an order a step."""

    steps: tuple[OrderAccepted, ...]


class OrderPreview(Struct, frozen=True):
    """What an order would do. `carriers`: cards by the profile enabled now; `refused`: lines by the reason's code.

    `looked_at` (else null): the cards are so many that only the first ones were looked at; then `lines` and `confirm`
    count all of them, `operations` those at most, and the rest is about the ones that were looked at.
    """

    lines: int
    operations: int
    carriers: Mapping[str, int]
    already: int
    queued: int
    refused: Mapping[str, int]
    examples: tuple[str, ...]
    bad_lines: tuple[BadLine, ...]
    confirm: int | None
    looked_at: int | None = None


class MeaningView(Struct, frozen=True):
    """What a reason means, who has to act, and what to do."""

    means: str
    owner: str
    next_step: str


class OperationView(Struct, frozen=True):
    """An operation. `steps`: what it asks of the card, as it was resolved for this card; `outcome.steps`: how each
    ended; `meanings`: what the reasons in the outcome mean."""

    id: UUID
    eid: str
    order: UUID | None
    operation: ShownKind
    iccid: str | None
    rollback: bool
    priority: int
    state: StateName
    doubt: str | None
    outcome: Mapping[str, object] | None
    ordered_by: str
    created_at: datetime
    not_before: datetime
    expires_at: datetime | None
    handed_at: datetime | None
    ended_at: datetime | None
    after: UUID | None = None  # the operation that has to be done before
    after_event: str | None = None  # what has to happen before
    waits_for: str | None = None  # operation, contact, event or operator; null: nothing
    window: str | None = None
    closes_at: datetime | None = None  # the end of its present or next window, which begins with `not_before`
    retries: int | None = None
    attempts: int = 0  # tries that ended so that another one follows
    parked: str | None = None  # why it could not be prepared
    means: str = ""  # how it stands, in a sentence
    next_step: str = ""  # what to do about it
    steps: tuple[Mapping[str, object], ...] = ()
    meanings: Mapping[str, MeaningView] = {}


class OperationPage(Struct, frozen=True):
    items: tuple[OperationView, ...]
    next: str | None


class OperationQuery(Request, frozen=True):
    limit: Limit = 100
    cursor: Cursor | None = None
    state: StateName | None = None
    kind: ShownKind | None = None
    eid: EidText | None = None
    order: UUID | None = None
    iccid: IccidText | None = None
    ordered_by: Annotated[str, Meta(min_length=1, max_length=200, pattern=_NO_NUL)] | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)] | None = None  # of the outcome
    created_after: Moment | None = None
    created_before: Moment | None = None
    open: bool | None = None  # whether it has not ended
    fields: Fields | None = None


class RefusedCard(Struct, frozen=True):
    """A card that an order for very many could not ask, and why."""

    eid: str
    code: str
    detail: str


class SpreadView(Struct, frozen=True):
    """How far an order for very many cards is. `cards`: that it meant when it was placed; `refused`: cards that can't
    be asked that, by the reason's code, the first of them in `refusals`; `seconds_left`: at the pace so far."""

    cards: int
    looked_at: int
    refused: Mapping[str, int]
    refusals: tuple[RefusedCard, ...]
    seconds_left: int | None
    stopped_at: datetime | None
    finished_at: datetime | None


class OrderView(Struct, frozen=True):
    """How an order stands. `size`: its operations so far; `spread` (else null): it is for very many cards.

    `withdrawn_at` (else null): it is taken back since then; `recalled_at`: all of it was.
    """

    id: UUID
    operation: ShownKind
    size: int
    ordered_by: str
    created_at: datetime
    states: Mapping[StateName, int]
    reasons: Mapping[str, int]
    oldest_waiting: datetime | None
    spread: SpreadView | None = None
    withdrawn_at: datetime | None = None
    recalled_at: datetime | None = None


class SummaryView(Struct, frozen=True):
    """The sums of the estate, as of a moment ago. `carriers` counts enabled profiles by service provider, `operations`
    what is open and what was ordered in the last 7 days and has ended."""

    euiccs: int
    introduced: int
    carriers: Mapping[str, int]
    operations: Mapping[StateName, int]
    as_of: datetime


class Problem(Struct, frozen=True):
    """RFC 9457. `code` is stable; `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    bad_lines: tuple[BadLine, ...] = ()
