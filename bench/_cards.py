"""Cards for a load: they verify nothing and remember nothing but a number, and sign what a real one would sign."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from eim.asn1.sgp32 import EuiccPackageRequest, decode
from eim.domain.euicc import Speaks
from eim.domain.ids import format_eid
from eim.protocol import trust
from eim.services.onboarding import Candidate, Onboarding, Rules
from eim.services.tokens import SETUP
from eim.sim import answers, messages
from eim.sim.answers import Hand
from eim.sim.behaviour import Carrier, Naming
from eim.sim.der import integer
from eim.sim.pki import EIN, Credentials, Pki, eids
from eim.sim.switches import STANDARD
from eim.store.connect import DEFAULT_SCHEMA, DbRole, open_pool

CARRIERS: Final = ("Carrier A", "Carrier B")
_TOKEN: Final = 1
_ENABLED: Final = integer(0x83, 0)  # the result of an enable that went well
_AT_ONCE: Final = 5_000
_HEAD: Final = 3  # octets of BF4F and a short length, before what is handed out
# The worker begins to seal introductions at once. Whoever has the leases is waited for by it, so that all is settled
# between two of its transactions.
_SETTLED: Final = (
    "SELECT 1 FROM leases FOR UPDATE",
    "UPDATE euiccs SET introduced_at = now(), inventory_at = now(), speaks = '1.2'",
    """
    INSERT INTO profiles (bucket, eid, tenant, iccid, state, service_provider)
    SELECT bucket, eid, tenant, decode(issuer || substr(encode(eid, 'hex'), 20, 13), 'hex'), state, carrier
      FROM euiccs, (VALUES ('8999001', 'enabled', 'Carrier A'), ('8999002', 'disabled', 'Carrier B'))
                   AS of_all (issuer, state, carrier)
    """,
    "UPDATE operations SET state = 'done', ended_at = now() WHERE state <> 'done'",
    "UPDATE packages SET state = 'ended', queued = false WHERE state <> 'ended'",
    "UPDATE mailbox SET sealed = NULL, number = NULL, operation = NULL, counter = NULL WHERE sealed IS NOT NULL",
)


class Card:
    """One card. It executes whatever enable it is given."""

    def __init__(self, credentials: Credentials) -> None:
        self.eid = credentials.eid
        self.poll = messages.poll(credentials.eid, Speaks.V1_2, None, None)
        self._hand = Hand(credentials, STANDARD)
        self._seq = 0

    def execute(self, package: bytes) -> bytes:
        """ProvideEimPackageResult for `package`, a BF51 with one enable."""
        request = decode(EuiccPackageRequest, package)
        self._seq += 1
        asked = answers.Request(request.package, request.signature, _TOKEN)
        result = answers.result(self._hand, asked, self._seq, (_ENABLED,))
        return messages.provide(result, self.eid, Speaks.V1_2, Naming.NAMED, Carrier.PROVIDE)

    def is_acknowledged(self, answer: bytes) -> bool:
        return self._seq in messages.acknowledged(answer)


def issue(pki: Pki, count: int) -> tuple[list[Card], list[Candidate]]:
    """`count` cards of one maker, and how each is onboarded: with its certificates and its token."""
    cards, candidates = [], []
    for eid in eids(EIN, count):
        made = pki.credentials(eid)
        cards.append(Card(made))
        candidates.append(
            Candidate(
                eid=format_eid(eid),
                association_token=_TOKEN,
                euicc_certificate=_text(made.euicc_certificate),
                eum_certificate=_text(made.eum_certificate),
            )
        )
    return cards, candidates


async def settle_in(logins: tuple[str, str, str], pki: Pki, candidates: Sequence[Candidate]) -> None:
    """Onboard them all: introduced, on carrier A, with nothing to do.

    logins  of the operator role, of the tables' owner and of the superuser
    """
    operator, owner, superuser = logins
    pool = await open_pool(operator, DbRole.OPERATOR, DEFAULT_SCHEMA, 1)
    roots, now = trust.load_roots([pki.root_der]), datetime.now(UTC)
    onboarding = Onboarding(pool, lambda euicc, eum: trust.check_chain(euicc, eum, roots, now))
    for start in range(0, len(candidates), _AT_ONCE):
        await onboarding.add_many(SETUP, candidates[start : start + _AT_ONCE], Rules(), None)
    await pool.close()
    await _execute(owner, "; ".join(_SETTLED))  # one transaction
    await _execute(superuser, "VACUUM ANALYZE", "CHECKPOINT")


def inner(answer: bytes) -> bytes:
    """The package in a GetEimPackageResponse."""
    return answer[_HEAD:] if answer[2] < 0x80 else answer[_HEAD + (answer[2] & 0x7F) :]


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": DEFAULT_SCHEMA})
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _text(certificate: bytes) -> str:
    return base64.b64encode(certificate).decode()
