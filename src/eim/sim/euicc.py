"""A virtual eUICC: the ES10b functions an IPA calls, without I/O (SGP.32 sections 2.11, 3.3, 5.9)."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eim.asn1.sgp32 import AddInitialEimRequest, EuiccPackageRequest, decode
from eim.domain.euicc import SignatureForm, Speaks
from eim.domain.ids import Eid, Iccid, format_eid
from eim.errors import Malformed
from eim.sim import answers, associations, happenings
from eim.sim.answers import Hand, Request
from eim.sim.associations import (
    HIGHEST_COUNTER,
    Association,
    Associations,
    ConfigurationRefused,
    Limits,
    add_initial,
)
from eim.sim.chronicle import Chronicle, Done
from eim.sim.der import integer, read, tlv, whole
from eim.sim.happenings import Cause, Happened
from eim.sim.journal import Journal, Verdict
from eim.sim.performing import Performing
from eim.sim.pki import Credentials
from eim.sim.profiles import Profile
from eim.sim.provocations import Provocations
from eim.sim.psmo import Condition, Event, State, positions
from eim.sim.switches import STANDARD, Curves, Switches, verify

_ERROR_CODE: Final = {
    Verdict.INVALID_EID: 3,
    Verdict.REPLAY: 4,
    Verdict.COUNTER_OUT_OF_RANGE: 6,
    Verdict.SIZE_OVERFLOW: 15,
    Verdict.ECALL_ACTIVE: 104,
    Verdict.UNDEFINED: 127,
}
_COUNTED: Final = (Verdict.EXECUTED, Verdict.ECALL_ACTIVE, Verdict.UNDEFINED)  # with these the counter is used up
_ROLLBACK: Final = 0x8C
_ROLLBACK_NOT_ALLOWED: Final = 1
_CAT_BUSY: Final = 5
_UNDEFINED: Final = 127
_RESET_EIMS: Final = {0xBF64: 5, 0xBF34: 3}  # the bit by the tag of the request: since v1.1, and v1.0.1
_RESET_IMMEDIATE_ENABLE: Final = {0xBF64: 6, 0xBF34: 4}
_TAC: Final = bytes.fromhex("35000000")


class StoredResult(msgspec.Struct, frozen=True):
    """A result the card keeps until it is acknowledged."""

    seq: int
    eim_id: str
    raw: bytes  # the whole BF51


class StoredNotification(msgspec.Struct, frozen=True):
    seq: int
    event: Event
    raw: bytes  # a PendingNotification: 30 { BF2F, 5F37, CERT.EUICC, CERT.EUM }


class Terminal(msgspec.Struct, frozen=True):
    """The device a card sits in."""

    tac: bytes = _TAC  # 4 octets, as in deviceInfo
    imei: bytes | None = None  # 8 octets


class _Accepted(msgspec.Struct, frozen=True):
    """A package that passed every check, and what its results are signed for."""

    request: Request
    association: str
    sha256: str


class _Undo(msgspec.Struct, frozen=True):
    """A granted rollback: where it goes back to and what it takes back."""

    accepted: _Accepted
    state: State
    results: tuple[bytes, ...]
    seqs: tuple[int, ...]  # the result's and its notifications'
    result_seq: int


class VirtualEuicc:
    """One card. It lives in the memory of the process; what it does is told to the journal before it answers."""

    def __init__(
        self,
        credentials: Credentials,
        profiles: Sequence[Profile],
        journal: Journal,
        switches: Switches = STANDARD,
        next_seq: int = 1,
    ) -> None:
        self.eid: Eid = credentials.eid
        self.credentials = credentials
        self.switches = switches
        self.provocations = Provocations()
        self.terminal = Terminal()
        self.state = State(tuple(profiles))
        self.associations = Associations(ci_key_id=credentials.ci_key_id)
        self._chronicle = Chronicle(journal, self.eid)
        self.next_seq = next_seq
        self._results: dict[int, StoredResult] = {}
        self._notifications: dict[int, StoredNotification] = {}
        self._undo: _Undo | None = None
        self._causes: dict[str, Cause] = {}  # by eimId: the change that this eIM was not told of yet
        self._chronicle.personalised(self.state)

    def __repr__(self) -> str:
        return f"VirtualEuicc({format_eid(self.eid)}, enabled={self.state.enabled_label})"

    @property
    def enabled(self) -> Iccid | None:
        """The active profile; a card may have none."""
        profile = self.state.enabled
        return profile.iccid if profile else None

    @property
    def may_roll_back(self) -> bool:
        """Whether an enable with the rollback flag is still unacknowledged."""
        return self._undo is not None

    @property
    def results(self) -> tuple[StoredResult, ...]:
        """What was not acknowledged yet, oldest first."""
        return tuple(self._results.values())

    @property
    def notifications(self) -> tuple[StoredNotification, ...]:
        return tuple(self._notifications.values())

    def set_condition(self, condition: Condition) -> None:
        """Occupy the card, or free it again."""
        self.state = msgspec.structs.replace(self.state, condition=condition)

    def set_counter(self, eim_id: str, highest: int) -> None:
        """Pretend that the counter accepted last from this eIM was `highest`: ahead of what it thinks, or behind."""
        association = self.associations.find(eim_id)
        if association is not None:
            self.associations = self.associations.put(msgspec.structs.replace(association, highest=highest))

    def cause_for(self, eim_id: str) -> Cause | None:
        """Why this eIM's view is stale; None when it isn't. It stays so until `told`."""
        return self._causes.get(eim_id)

    def pretend_change(self, cause: Cause) -> None:
        """Every eIM is to hear of a change that wasn't one."""
        self._leave_cause(cause)

    def told(self, eim_id: str) -> None:
        """The eIM knows now that it has to look again."""
        self._causes.pop(eim_id, None)

    def fall_back(self) -> int:
        """ES10b.ExecuteFallbackMechanism: 0, or why the profile with the Fallback Attribute can't take over."""
        return self._undergo("fallBack", Cause.FALLBACK, happenings.fall_back(self.state))

    def return_from_fallback(self) -> int:
        """ES10b.ReturnFromFallback: 0, or why the profile that was left isn't back."""
        return self._undergo("returnFromFallback", Cause.FALLBACK, happenings.return_from_fallback(self.state))

    def begin_emergency_call(self) -> int:
        """ES10b.EnableEmergencyProfile: 0, or why there is no call. Until its end everything is ecallActive."""
        return self._undergo("emergencyCall", Cause.EMERGENCY_PROFILE, happenings.begin_emergency_call(self.state))

    def end_emergency_call(self) -> int:
        """ES10b.DisableEmergencyProfile."""
        return self._undergo("emergencyCallEnds", Cause.EMERGENCY_PROFILE, happenings.end_emergency_call(self.state))

    def install(self, profile: Profile) -> None:
        """A download that went well without us: the profile is there, and its SM-DP+ is to be told."""
        self._undergo("install", None, happenings.install(self.state, profile))

    def enable_immediately(self) -> int:
        """ES10b.ImmediateEnable of what was just installed: 0, or why not."""
        return self._undergo("immediateEnable", Cause.IMMEDIATE_ENABLE, happenings.enable_immediately(self.state))

    def move_to(self, terminal: Terminal) -> None:
        """The card was put into another device."""
        self.terminal = terminal
        self._undergo("deviceChange", Cause.DEVICE_CHANGE, Happened(self.state, 0))

    def memory_reset(self, octets: bytes) -> bytes:
        """ES10b.eUICCMemoryReset: BF64 (BF34 in v1.0.1) in and out, with up to three results. Raises Malformed."""
        (outer,) = read(octets)
        tag = outer.tag if outer.tag in _RESET_EIMS else 0xBF64
        options = next((found.value for found in read(whole(octets, tag).value) if found.tag == 0x82), b"\x00")
        bits = positions(options)
        eims, immediate = _RESET_EIMS[tag] in bits, _RESET_IMMEDIATE_ENABLE[tag] in bits
        found = bool(self.associations.entries)
        happened = happenings.delete_all(self.state, bits - {_RESET_EIMS[tag], _RESET_IMMEDIATE_ENABLE[tag]})
        if happened.code <= 1 and eims:
            self.associations = msgspec.structs.replace(self.associations, entries=())
        if happened.code <= 1 and immediate:
            changed = msgspec.structs.replace(happened.state, immediate=None)
            happened = msgspec.structs.replace(happened, state=changed)
        self._undergo("memoryReset", Cause.RESET, happened)
        answers_to_bits = (
            integer(0x81, 0 if found else 1) if eims else b"",
            integer(0x82, 0) if immediate else b"",
        )
        return tlv(tag, integer(0x80, happened.code), *answers_to_bits)

    def add_initial_eim(self, octets: bytes) -> bytes:
        """ES10b.AddInitialEim: BF57 in, BF57 out; a token or NULL for each eIM, or one error. Raises Malformed."""
        request = decode(AddInitialEimRequest, octets)
        try:
            self.associations = add_initial(self.associations, request.configs, self._limits())
        except ConfigurationRefused as refusal:
            self._tell("addInitialEim", refusal.code)
            return tlv(0xBF57, integer(0x81, refusal.code))
        self._tell("addInitialEim", 0)
        tokens = (entry.token for entry in self.associations.entries)
        return tlv(0xBF57, tlv(0xA0, *(tlv(0x05) if token is None else integer(0x84, token) for token in tokens)))

    def load_euicc_package(self, octets: bytes) -> bytes:
        """ES10b.LoadEuiccPackage: BF51 in, BF51 out, checked in the order of SGP.32 section 5.9.13.

        Raises Malformed for octets in which not even an eIM can be named.
        """
        digest = hashlib.sha256(octets).hexdigest()
        try:
            request = decode(EuiccPackageRequest, octets)
        except Malformed:
            self._chronicle.malformed(digest)
            raise
        association = self.associations.find(request.package.eim_id)
        verdict, code = self._judge(request, association, len(octets))
        self._chronicle.received(request.package, _fingerprint(association), digest, verdict)
        provoked = self.provocations.take("unsigned")
        if association is None or verdict is Verdict.BAD_SIGNATURE or provoked is not None:
            token = association.token if association else None
            return answers.unsigned(self._hand, request.package, token, _UNDEFINED if provoked is None else provoked)
        accepted = _Accepted(
            Request(request.package, request.signature, association.token), _fingerprint(association), digest
        )
        if verdict in _COUNTED:
            self.associations = self.associations.put(
                msgspec.structs.replace(association, highest=request.package.counter)
            )
        if verdict is not Verdict.EXECUTED:
            return answers.refused(self._hand, accepted.request, code)
        return self._execute(accepted)

    def profile_rollback(self, octets: bytes) -> bytes:
        """ES10b.ProfileRollback: BF58 in, BF58 out with the result that replaces the undelivered one.

        The card forgets that result and its notifications. Refused with code 1 when no rollback was granted, or it
        ended by an acknowledgement or another package. Raises Malformed.
        """
        whole(octets, 0xBF58)  # refreshFlag is 80 or, from one IPA, 01: this card refreshes anyway
        undo, refused = self._undo, self.provocations.take("profileRollback")
        if self.state.condition is Condition.CAT_BUSY:
            refused = _CAT_BUSY
        if undo is None or refused is not None:
            return tlv(0xBF58, integer(0x02, _ROLLBACK_NOT_ALLOWED if refused is None else refused))
        for seq in undo.seqs:
            self._results.pop(seq, None)
            self._notifications.pop(seq, None)
        self._undo = None
        failed = self.provocations.take("rollback")
        if failed is None:
            self.state = msgspec.structs.replace(undo.state, condition=self.state.condition)
        stored = self._store(undo.accepted, (*undo.results, integer(_ROLLBACK, failed or 0)))
        self._chronicle.rolled_back(undo.accepted.request.package, stored.seq, self.state.enabled_label)
        return tlv(0xBF58, integer(0x02, 0), stored.raw)

    def remove_notification(self, seq: int) -> int:
        """ES10b.RemoveNotificationFromList for results and notifications alike: 0 done, 1 nothing to delete."""
        if self._undo is not None and seq == self._undo.result_seq:
            self._undo = None  # the eIM has the result: the way back is closed
        result, notification = self._results.pop(seq, None), self._notifications.pop(seq, None)
        return int(result is None and notification is None)

    @property
    def _hand(self) -> Hand:
        return Hand(self.credentials, self.switches)

    def _limits(self) -> Limits:
        own = frozenset({self.credentials.key.curve.name})
        return Limits(
            room=self.switches.room_for_eims,
            curves=own if self.switches.curves is Curves.OWN else associations.BOTH,
            id_type_tag=0x84 if self.switches.speaks is Speaks.V1_0_1 else 0x82,
        )

    def _judge(self, request: EuiccPackageRequest, association: Association | None, size: int) -> tuple[Verdict, int]:
        """What to make of a package, and the error code where a signed one follows."""
        if association is None:
            return Verdict.UNKNOWN_EIM, 0
        emulated = self.switches.form is SignatureForm.NONE  # such a card has no key and checks nothing
        tbs = request.signed + answers.associated(association.token)
        if not emulated and not verify(association.key, tbs, request.signature):
            return Verdict.BAD_SIGNATURE, 0
        provoked = self.provocations.take("package")
        if provoked is not None:
            known = {code: verdict for verdict, code in _ERROR_CODE.items()}
            return known.get(provoked, Verdict.UNDEFINED), provoked
        verdict = self._judge_genuine(request, association, size)
        return verdict, _ERROR_CODE.get(verdict, 0)

    def _judge_genuine(self, request: EuiccPackageRequest, association: Association, size: int) -> Verdict:
        package, largest = request.package, self.switches.largest_package
        if package.eid != self.eid:
            return Verdict.INVALID_EID
        if package.counter > HIGHEST_COUNTER:
            return Verdict.COUNTER_OUT_OF_RANGE
        if package.counter <= association.highest:
            return Verdict.REPLAY
        if largest is not None and size > largest:
            return Verdict.SIZE_OVERFLOW
        if self.state.condition is not Condition.ECALL:
            return Verdict.EXECUTED
        return Verdict.UNDEFINED if self.switches.speaks is Speaks.V1_0_1 else Verdict.ECALL_ACTIVE

    def _execute(self, accepted: _Accepted) -> bytes:
        self._undo = None
        self.state = msgspec.structs.replace(self.state, undo=None)
        performing = Performing(self.switches, self.provocations, self._limits())
        self.state, self.associations, performed = performing.run(
            self.state, self.associations, accepted.request.package.package
        )
        told = self._notify(performed.events)
        stored = self._store(accepted, performed.results)
        done = Done(stored.seq, performed.acts, accepted.association, accepted.sha256)
        self._chronicle.executed(accepted.request.package, done, self.state.enabled_label)
        if performed.events:
            self._leave_cause(Cause.OTHER_EIM, accepted.request.package.eim_id)
        if self.state.undo is not None:
            self._undo = _Undo(accepted, self.state.undo, performed.results, (stored.seq, *told), stored.seq)
        return stored.raw

    def _undergo(self, what: str, cause: Cause | None, happened: Happened) -> int:
        """Let `happened` be the card's state; every eIM is to hear of it. A refusal changes nothing."""
        if happened.code <= 1 or happened.state is not self.state:
            self._undo = None
            self.state = happened.state
            self._notify(happened.events)
            if cause is not None and happened.code == 0:
                self._leave_cause(cause)
        self._tell(what, happened.code)
        return happened.code

    def _tell(self, what: str, code: int) -> None:
        eims = tuple(entry.eim_id for entry in self.associations.entries)
        self._chronicle.changed(what, code, self.state, eims)

    def _leave_cause(self, cause: Cause, apart_from: str | None = None) -> None:
        for entry in self.associations.entries:
            if entry.eim_id != apart_from:
                self._causes[entry.eim_id] = cause

    def _store(self, accepted: _Accepted, results: Sequence[bytes]) -> StoredResult:
        emulated = self.switches.form is SignatureForm.NONE
        seq = 0 if emulated else self._draw_seq()
        raw = answers.result(self._hand, accepted.request, seq, results)
        stored = StoredResult(seq, accepted.request.package.eim_id, raw)
        if not emulated:
            self._results[seq] = stored
        return stored

    def _notify(self, events: Iterable[tuple[Event, Profile]]) -> list[int]:
        """A notification for each, to be kept until it is acknowledged; their sequence numbers."""
        drawn = []
        for event, profile in events:
            if profile.notify is None or self.switches.form is SignatureForm.NONE:  # it can sign nothing
                continue
            seq = self._draw_seq()
            self._notifications[seq] = StoredNotification(
                seq, event, answers.notification(self._hand, event, profile, seq)
            )
            drawn.append(seq)
        return drawn

    def _draw_seq(self) -> int:
        seq = self.next_seq
        self.next_seq += 1
        return seq


def _fingerprint(association: Association | None) -> str:
    """The token and the key that packages are held against: a renewal changes one of them, and counts anew."""
    if association is None:
        return ""
    spki = association.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{association.token or 0}:{hashlib.sha256(spki).hexdigest()[:16]}"
