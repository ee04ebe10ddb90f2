"""A plain result: its card, its package and the profiles tell its whole effect. Pure: values in, values out.

What it does is what `settling` and `applying` do to one that comes alone, and is said by the same functions. Whatever
they would have to look further for, ask the card again for, or raise an alarm about, is not plain.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from eim.asn1.sgp32 import ErrorSigned, ResultSigned, encode_association_token
from eim.domain import drift, inventory
from eim.domain.euicc import Profile, SignatureCoding, SignatureForm
from eim.domain.ids import Bucket, Eid, Iccid, TransactionId, bucket_in_transaction
from eim.domain.operation import State
from eim.domain.outcome import Outcome, outcome_of, package_error
from eim.domain.step import ConfigureImmediateEnable, GetRat, ListProfileInfo, SetDefaultDpAddress, Step
from eim.protocol.ecdsa import SIGNATURE_SIZE, Check, Curve, PublicKey
from eim.protocol.esep import Match
from eim.protocol.esipa import Provided
from eim.services import applying, following, listing, settling
from eim.services.verdicts import Verdict
from eim.store.settled import Claim, Found, Name, Settled

_HIGHEST: Final = 2**31 - 1  # what the columns hold
_BESIDE: Final = 4  # notifications that a message may list beside its result; a change of profiles makes two
_EID_SIZE: Final = 16  # octets
_CURVES: Final = {curve.value: curve for curve in Curve}
_SETTINGS: Final = (ConfigureImmediateEnable, GetRat, SetDefaultDpAddress)

Signed = ResultSigned | ErrorSigned


class Said(msgspec.Struct, frozen=True):
    """A signed result by itself, and what it says that it answers."""

    name: Name
    result: Signed
    digest: bytes  # SHA-256 of its octets


class Decided(msgspec.Struct, frozen=True):
    """What one plain result does, as far as that is known without the card's profiles."""

    said: Said
    found: Found
    outcome: Outcome
    settings: dict[str, object]  # of the card: these are so now
    told: dict[str, object]  # for the operation's outcome, beside what the result itself says
    card: tuple[Bucket, Eid]
    lists: bool  # it is the whole inventory of its card

    @property
    def needs_profiles(self) -> bool:
        """Whether it can't be written without them."""
        for step, ended in zip(self.found.asked.steps, self.outcome.steps, strict=False):
            if ended.done and not isinstance(step, _SETTINGS):
                return True
        return False

    @property
    def claim(self) -> Claim:
        """The lock on its card."""
        seq = self.said.result.data.seq_number if isinstance(self.said.result, ResultSigned) else None
        return Claim(self.said.name.bucket, self.found, seq, self.lists, self.settings or None)


def said(provided: Provided) -> Said | None:
    """The one signed result of a message, under a transaction id of ours; None: it is not plain."""
    result = provided.payload
    if not isinstance(result, ResultSigned | ErrorSigned) or not provided.wants_answer:
        return None
    if provided.results or provided.unreadable or len(provided.notifications) > _BESIDE:
        return None
    transaction = result.data.transaction_id
    bucket = bucket_in_transaction(TransactionId(transaction)) if transaction else None
    if transaction is None or bucket is None or not 0 <= result.data.counter <= _HIGHEST:
        return None
    # An EID of another bucket than the transaction's finds nothing, for both are asked for.
    eid = Eid(provided.eid) if provided.eid is not None and len(provided.eid) == _EID_SIZE else None
    name = Name(bucket, eid, TransactionId(transaction), result.data.counter)
    return Said(name, result, hashlib.sha256(result.raw).digest())


def check(decided: Decided) -> Check | None:
    """What is left to ask when its card has proven one form: is the signature the card's? None: it can't be."""
    found, result = decided.found, decided.said.result
    token = found.association_token
    if (token is None) is not (found.signature_form is SignatureForm.ZERO) or len(result.signature) != SIGNATURE_SIZE:
        return None
    key = PublicKey(_CURVES[found.curve], found.public_key)
    return Check(key, result.signed + encode_association_token(token), result.signature)


def decide(said: Said, found: Found) -> Decided | None:
    """What a result does whose signature holds; None: it is not plain."""
    result, asked = said.result, found.asked
    if result.data.eim_id != found.eim_id:
        return None
    if isinstance(result, ErrorSigned):
        if result.data.code in (settling.REPLAY, settling.OUT_OF_RANGE):
            return None
        decided = _decided(said, found, Outcome(State.FAILED, package_error(result.data.code)), {}, {})
    else:
        outcome = outcome_of(asked.steps, applying.codes(asked, result))
        decided = _decided(said, found, outcome, *_learnt(asked.steps, outcome, result))
        refuses = listing.refuses_tags(found.package, outcome)
        if refuses or not _is_fresh(found, result) or not _is_followed(decided, result):
            return None
    if applying.pause_before_next_try(asked, decided.outcome, 0.0) is not None:
        return None
    return decided


def _decided(
    said: Said, found: Found, outcome: Outcome, settings: dict[str, object], told: dict[str, object]
) -> Decided:
    lists = bool(outcome.steps) and applying.lists(found.asked.steps, outcome)
    return Decided(said, found, outcome, settings, told, (said.name.bucket, found.eid), lists)


def settle(decided: Decided, before: Sequence[Profile]) -> Settled | None:
    """What is written of it, given the card's profiles; None: what it says of them is news that is not plain."""
    result, found, asked = decided.said.result, decided.found, decided.found.asked
    now: Sequence[Profile] = before
    detail: dict[str, object] = {}
    if isinstance(result, ResultSigned):
        detail = applying.detail_of(decided.outcome, result, found.package) | decided.told
        for step, ended in zip(asked.steps, decided.outcome.steps, strict=False):
            if not ended.done:
                continue
            if isinstance(step, ListProfileInfo):
                element = result.data.results[ended.place or 0]
                now, told = _listed(step, listing.sent(found.package)[0], following.listed(element), before)
                if step.is_complete and _is_news(found, before, now):
                    return None
                detail |= told
            elif inventory.changes_profiles(step):
                detail |= following.told_of_change(now, step)
                now = inventory.after(now, step)
    return _settled(decided, detail, before, now)


def _is_fresh(found: Found, result: ResultSigned) -> bool:
    return found.highest_seq is None or result.data.seq_number > found.highest_seq


def _is_followed(decided: Decided, result: ResultSigned) -> bool:
    """Whether each step that went well is of a kind whose effect is plain, and none was taken back."""
    outcome, steps = decided.outcome, decided.found.asked.steps
    if outcome.rollback is not None or "rollback" in [element.kind for element in result.data.results]:
        return False
    for step, ended in zip(steps, outcome.steps, strict=False):
        if ended.done and isinstance(step, ListProfileInfo):
            return len(steps) == 1 and ended.place is not None
        if ended.done and not (inventory.changes_profiles(step) or isinstance(step, _SETTINGS)):
            return False
    return True


def _learnt(
    steps: Sequence[Step], outcome: Outcome, result: ResultSigned
) -> tuple[dict[str, object], dict[str, object]]:
    settings: dict[str, object] = {}
    told: dict[str, object] = {}
    for step, ended in zip(steps, outcome.steps, strict=False):
        element = result.data.results[ended.place] if ended.place is not None else None
        learnt = following.learnt_by(step, element) if ended.done else None
        if learnt is not None:
            settings |= learnt.settings
            told |= learnt.told
    return settings, told


def _listed(
    asked: ListProfileInfo, sent: Step, found: Sequence[Profile], before: Sequence[Profile]
) -> tuple[Sequence[Profile], dict[str, object]]:
    named = sent if isinstance(sent, ListProfileInfo) else asked
    if asked.is_complete:
        return inventory.relisted(before, found, named), {}
    return inventory.merge(before, found, named), following.told_of_listing(found)


def _is_news(found: Found, before: Sequence[Profile], now: Sequence[Profile]) -> bool:
    """Whether the inventory of a card tells something that happened to it."""
    used, uses = inventory.enabled(before), inventory.enabled(now)
    if (used is not None and used.fallback) or (uses is not None and uses.fallback):
        return True
    if found.listed:
        return bool(drift.of_profiles(before, now))
    was, new = {p.iccid for p in before}, {p.iccid for p in now}
    return bool(was and new and not was & new)


def _settled(decided: Decided, detail: dict[str, object], before: Sequence[Profile], now: Sequence[Profile]) -> Settled:
    found, result = decided.found, decided.said.result
    token = found.association_token if found.signature_form is SignatureForm.TOKEN else None
    verdict = Verdict("verified", Match(found.signature_form, SignatureCoding.RAW, token))
    turned, changed, gone = _changes(before, now) if now is not before else ((), (), ())
    return Settled(
        bucket=decided.said.name.bucket,
        eid=found.eid,
        tenant=found.tenant,
        stored=settling.stored(result, decided.said.digest, verdict, found.package),
        number=found.package.number,
        operation=found.asked.id,
        ending=applying.ending_of(found.asked, decided.outcome, detail),
        turned=turned,
        changed=changed,
        gone=gone,
    )


def _changes(
    before: Sequence[Profile], now: Sequence[Profile]
) -> tuple[tuple[Profile, ...], tuple[Profile, ...], tuple[Iccid, ...]]:
    """The profiles of which only state and fallback attribute are others than before; those that are otherwise than
    before, or were not there; those that are not there any more."""
    left = {profile.iccid: profile for profile in before}
    known = dict(left)
    turned, changed = list[Profile](), list[Profile]()
    for profile in now:
        left.pop(profile.iccid, None)
        was = known.get(profile.iccid)
        if was is profile or was == profile:
            continue
        (turned if _is_turned(was, profile) else changed).append(profile)
    return tuple(turned), tuple(changed), tuple(left)


def _is_turned(before: Profile | None, now: Profile) -> bool:
    """Whether nothing but its state and the fallback attribute are others than before."""
    return before is not None and msgspec.structs.replace(before, state=now.state, fallback=now.fallback) == now
