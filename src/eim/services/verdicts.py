"""Is it the card's? Which accepted forms a result is tried in, and what is pinned (SGP.32 section 2.11.2.1)."""

from collections.abc import Sequence

import msgspec

from eim.asn1 import sgp32
from eim.asn1.sgp32 import ErrorSigned, EuiccPackageRequest, ResultSigned
from eim.domain.euicc import SignatureForm, Speaks
from eim.protocol import esep
from eim.protocol.ecdsa import Curve, PublicKey
from eim.protocol.esep import Candidate, Match
from eim.store.associations import Card
from eim.store.packages import Package


class Verdict(msgspec.Struct, frozen=True):
    """verified, unverified (no certificate yet), unverifiable (flagged by an operator), refused, unsigned, foreign."""

    word: str
    match: Match | None = None

    @property
    def counts(self) -> bool:
        """Whether it may change anything."""
        return self.word in ("verified", "unverifiable")


def judge(card: Card, speaks: Speaks | None, result: ResultSigned | ErrorSigned, package: Package | None) -> Verdict:
    """The verdict on a signed result, over the octets as they came."""
    if card.unverifiable:
        return Verdict("unverifiable")
    if card.public_key is None or card.curve is None:
        return Verdict("unverified")
    key = PublicKey(Curve(card.curve), card.public_key)
    request = _signature_of(package) if package else None
    match = esep.verify(result, key, candidates(card, speaks, package), request)
    if match is None or (card.signature_coding and match.coding is not card.signature_coding):
        return Verdict("refused")
    return Verdict("verified", match)


def candidates(card: Card, speaks: Speaks | None, package: Package | None) -> Sequence[Candidate]:
    """The forms to try, the likeliest first. A pinned form is the only one; the recorded token goes before zero,
    and zero only while no token is recorded; the v1.0.x form only for a device known to speak that."""
    tokens = [card.association_token]
    if package is not None and package.token not in tokens and not card.token_proven:
        tokens.append(package.token)
    pinned = card.signature_form
    if card.token_on_trial and pinned in (SignatureForm.TOKEN, SignatureForm.ZERO):
        return [_with(token) for token in (*tokens, card.former_token)]
    found = [Candidate(SignatureForm.TOKEN, token) for token in tokens if token is not None]
    if pinned in (None, SignatureForm.ZERO) and card.association_token is None:
        found.append(Candidate(SignatureForm.ZERO, None))
    if pinned is SignatureForm.EIM_SIGNATURE or (pinned is None and speaks is Speaks.V1_0_1):
        found.append(Candidate(SignatureForm.EIM_SIGNATURE, None))
    return [c for c in found if pinned is None or c.form is pinned]


def _with(token: int | None) -> Candidate:
    return Candidate(SignatureForm.ZERO if token is None else SignatureForm.TOKEN, token)


def _signature_of(package: Package) -> bytes | None:
    if package.counter is None or not package.sealed:  # its octets went with their age (docs/retention.md)
        return None
    return sgp32.decode(EuiccPackageRequest, package.sealed).signature
