"""What the `data` of each kind of event holds: the source of the JSON Schemas that receivers get, and of the docs.

A field that is not always there is UNSET; one that may be null says so. Ids are UUIDs, EIDs and ICCIDs are digits,
times are ISO 8601. Fields may be added, so a receiver passes over what it does not know.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType, field

from eim.domain.event import Happening


class NothingData(Struct, frozen=True):
    """Its type says all."""


class ByData(Struct, frozen=True):
    """`by`: the token, or the part of eim, that did it."""

    by: str


class EditedData(ByData, frozen=True):
    """The card's fields as they are from now on."""

    label: str | None
    tags: list[str]
    group: str | None
    time_zone: str | None
    unverifiable: bool
    reason: str | None


class OffboardedData(ByData, frozen=True):
    """`counter`: the last one allocated; who takes the card over has to be above it."""

    reason: str
    counter: int
    identity: str


class IntroducedData(Struct, frozen=True):
    """`speaks`: the version of SGP.32, null while it is not known."""

    speaks: str | None


class StateChangeData(Struct, frozen=True):
    """`stateChangeCause` as the device said it, and `cause`, its name."""

    cause: str
    stateChangeCause: int | None  # noqa: N815 - the standard's own name


class NetworkChangedData(Struct, frozen=True):
    """`network` and `before` as MCC-MNC; `plmn` the three octets as they came, in hex."""

    network: str
    before: str | None
    plmn: str


class DeviceChangedData(Struct, frozen=True):
    """`differs`: what of the device is another, each as [before, now]."""

    differs: Mapping[str, object]


class FallbackData(Struct, frozen=True):
    """The ICCIDs of the profile that is enabled now and of the one before."""

    profile: str | None
    before: str | None


class RolledBackData(Struct, frozen=True):
    """The counter of the package whose effect was undone, and the card's own number of its report."""

    counter: int
    seq: int


class CallEndedData(Struct, frozen=True):
    since: datetime


class OrphanedData(Struct, frozen=True):
    why: str
    eim_id: str | None
    reset_reported_at: datetime | None


class SuspectedData(Struct, frozen=True):
    """`why`: a word for programs; `says`: a sentence; `evidence`: what contradicts what."""

    why: str
    says: str
    evidence: Mapping[str, object]


class WhyData(Struct, frozen=True):
    """`why`: a sentence."""

    why: str


class QuarantinedData(ByData, frozen=True):
    why: str


class ReleasedData(ByData, frozen=True):
    """`was`: what it is released from."""

    why: str
    was: str


class DeniedData(Struct, frozen=True):
    """The denial's id."""

    denial: UUID


class DenialToldData(ByData, frozen=True):
    """`mark`: what is denied: `eid:`, `ein:` or `cert:` and its digits."""

    denial: UUID
    mark: str
    reason: str


class OrderPlacedData(ByData, frozen=True):
    """`cards`: how many it means; `tag`: those with this tag, null: all of the tenant's."""

    order: UUID
    kind: str
    cards: int
    tag: str | None


class OrderSpreadData(Struct, frozen=True):
    """`operations`: how many it placed; `refused`: how many cards could not be asked that."""

    order: UUID
    operations: int
    refused: int
    stopped: bool


class ProvenData(Struct, frozen=True):
    """What the card's signature covers (`form`) and how it is written (`coding`: raw or der)."""

    form: str
    coding: str


class CounterJumpedData(Struct, frozen=True):
    """`attempt` is `try`: how often it was moved for one doubt."""

    before: int
    counter: int
    attempt: int = field(name="try")


class DriftData(Struct, frozen=True):
    """Each difference: `what`, `about` which profile or eIM, what we `believed`, what the card `said`."""

    differences: list[Mapping[str, object]]


class CounterHighData(Struct, frozen=True):
    counter: int
    ceiling: int


class StalledData(Struct, frozen=True):
    reason: str


class ResumedData(ByData, frozen=True):
    was: str
    why: str


class HandedOverData(Struct, frozen=True):
    """`reason`: the card's word when it refused."""

    handover: UUID
    stage: str
    eimId: str | None  # noqa: N815 - the standard's own name
    reason: str | UnsetType = UNSET


class KeyTurnedData(Struct, frozen=True):
    """The numbers of our keys, as `eim associations keys` lists them."""

    before: int = field(name="from")
    to: int


class OperationAcceptedData(ByData, frozen=True):
    """`steps`: the names of a package's steps; `after`: what it waits for; `forced`: why a guard was overruled."""

    operation: UUID
    kind: str
    iccid: str | UnsetType = UNSET
    steps: list[str] | UnsetType = UNSET
    after: UUID | UnsetType = UNSET
    forced: str | UnsetType = UNSET


class OperationPostponedData(Struct, frozen=True):
    """`reason`: the card's word; `attempt` so far, and when the next one is due, if it is not asked first."""

    operation: UUID
    reason: str
    kind: str | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    again_in_s: int | UnsetType = UNSET


class OperationParkedData(Struct, frozen=True):
    operation: UUID
    kind: str
    why: str


class OperationToldData(ByData, frozen=True):
    operation: UUID


class OperationWithdrawnData(ByData, frozen=True):
    """`was`: its state before; what was out is in doubt until the card is asked."""

    operation: UUID
    was: str


class OperationEndedData(Struct, frozen=True):
    """`reason`: `ok`, or the standard's name of what went wrong. `steps`: how each step of a package ended."""

    operation: UUID
    kind: str
    reason: str
    steps: list[Mapping[str, object]] | UnsetType = UNSET
    rollback: str | UnsetType = UNSET
    after: UUID | UnsetType = UNSET


class OperationExpiredData(Struct, frozen=True):
    operation: UUID
    reason: str


class OperationInDoubtData(Struct, frozen=True):
    """`error`: the standard's name of the error without a signature that began the doubt."""

    operation: UUID
    reason: str
    error: str | UnsetType = UNSET


class ResultUnsignedData(Struct, frozen=True):
    """`kind`: errorUnsigned (the card's) or responseError (its IPA's)."""

    kind: str
    error: str | UnsetType = UNSET


class ResultRefusedData(Struct, frozen=True):
    why: str
    counter: int | UnsetType = UNSET


class ResultForeignData(Struct, frozen=True):
    counter: int
    eimId: str  # noqa: N815 - the standard's own name


class DownloadReportedData(Struct, frozen=True):
    """`reason`: null when it went well."""

    reason: str | None


class NotificationStoredData(Struct, frozen=True):
    """`verdict`: whether the card's signature holds: verified, unverified, refused."""

    notification: UUID
    event: str | None
    address: str | None
    seq: int | None
    verdict: str


class NotificationNamedData(Struct, frozen=True):
    """`notification` is its id; `seq` the card's own number; `host` the SM-DP+."""

    notification: UUID
    host: str | None
    event: str | None
    iccid: str | None
    seq: int | None


class NotificationDeliveredData(NotificationNamedData, frozen=True):
    attempts: int


class NotificationHeldData(Struct, frozen=True):
    notification: UUID
    reason: str
    host: str | UnsetType | None = UNSET
    event: str | UnsetType | None = UNSET
    iccid: str | UnsetType | None = UNSET
    seq: int | UnsetType | None = UNSET


class NotificationDelayedData(NotificationNamedData, frozen=True):
    """`failure`: what the last try met; `reason`: why it is held, when it is."""

    hours: float
    state: str
    reason: str | None
    failure: str | None
    attempts: int


class NotificationGivenUpData(ByData, frozen=True):
    notification: UUID
    event: str | None
    seq: int | None
    host: str | None
    reason: str


class WebhookTestedData(ByData, frozen=True):
    webhook: UUID


class WebhookDisabledData(Struct, frozen=True):
    webhook: UUID
    why: str


DATA: Final[Mapping[Happening, type[Struct]]] = {
    Happening.EUICC_ONBOARDED: ByData,
    Happening.EUICC_EDITED: EditedData,
    Happening.EUICC_OFFBOARDED: OffboardedData,
    Happening.EUICC_SEEDED: ByData,
    Happening.EUICC_INTRODUCED: IntroducedData,
    Happening.EUICC_CHANGED: StateChangeData,
    Happening.EUICC_CHANGED_ELSEWHERE: StateChangeData,
    Happening.EUICC_CHANGED_LOCALLY: StateChangeData,
    Happening.EUICC_NETWORK_CHANGED: NetworkChangedData,
    Happening.EUICC_DEVICE_CHANGED: DeviceChangedData,
    Happening.EUICC_FALLBACK_ENTERED: FallbackData,
    Happening.EUICC_FALLBACK_LEFT: FallbackData,
    Happening.EUICC_IMMEDIATELY_ENABLED: StateChangeData,
    Happening.EUICC_ROLLED_BACK: RolledBackData,
    Happening.EUICC_EMERGENCY_PROFILE: StateChangeData,
    Happening.EUICC_ECALL_STARTED: NothingData,
    Happening.EUICC_ECALL_ENDED: CallEndedData,
    Happening.EUICC_RESET: StateChangeData,
    Happening.EUICC_ORPHANED: OrphanedData,
    Happening.EUICC_SUSPECTED: SuspectedData,
    Happening.EUICC_QUARANTINED: QuarantinedData,
    Happening.EUICC_RELEASED: ReleasedData,
    Happening.EUICC_DENIED: DeniedData,
    Happening.EUICC_ADMITTED: DeniedData,
    Happening.EUICC_PROVEN: ProvenData,
    Happening.EUICC_KEY_CHANGED: WhyData,
    Happening.EUICC_TOKEN_DIFFERS: WhyData,
    Happening.EUICC_COUNTER_JUMPED: CounterJumpedData,
    Happening.EUICC_DRIFT: DriftData,
    Happening.EUICC_COUNTER_HIGH: CounterHighData,
    Happening.EUICC_STALLED: StalledData,
    Happening.EUICC_RESUMED: ResumedData,
    Happening.EUICC_HANDOVER: HandedOverData,
    Happening.EUICC_KEY_TURNED: KeyTurnedData,
    Happening.CERTIFICATE_REFUSED: WhyData,
    Happening.ORDER_PLACED: OrderPlacedData,
    Happening.ORDER_SPREAD: OrderSpreadData,
    Happening.OPERATION_ACCEPTED: OperationAcceptedData,
    Happening.OPERATION_POSTPONED: OperationPostponedData,
    Happening.OPERATION_PARKED: OperationParkedData,
    Happening.OPERATION_RESUMED: OperationToldData,
    Happening.OPERATION_IN_DOUBT: OperationInDoubtData,
    Happening.OPERATION_DONE: OperationEndedData,
    Happening.OPERATION_FAILED: OperationEndedData,
    Happening.OPERATION_WITHDRAWN: OperationWithdrawnData,
    Happening.OPERATION_EXPIRED: OperationExpiredData,
    Happening.RESULT_UNSIGNED: ResultUnsignedData,
    Happening.RESULT_REFUSED: ResultRefusedData,
    Happening.RESULT_FOREIGN: ResultForeignData,
    Happening.DOWNLOAD_REPORTED: DownloadReportedData,
    Happening.NOTIFICATION_STORED: NotificationStoredData,
    Happening.DENIAL_ADDED: DenialToldData,
    Happening.DENIAL_LIFTED: DenialToldData,
    Happening.NOTIFICATION_DELIVERED: NotificationDeliveredData,
    Happening.NOTIFICATION_HELD: NotificationHeldData,
    Happening.NOTIFICATION_DELAYED: NotificationDelayedData,
    Happening.NOTIFICATION_GIVEN_UP: NotificationGivenUpData,
    Happening.WEBHOOK_TESTED: WebhookTestedData,
    Happening.WEBHOOK_DISABLED: WebhookDisabledData,
}
