"""The operator's side on a real database: services, application, a client with a token, and known EIDs."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import httpx2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.applications import Starlette

from eim.domain.ids import DEFAULT_TENANT, Eid, TenantId, bucket_of, parse_iccid
from eim.errors import UntrustedCertificate
from eim.protocol.trust import TrustedEuicc
from eim.services.onboarding import Candidate, Rules
from eim.services.tokens import SETUP, Caller, NewToken, Scope
from eim.store.connect import DbRole
from eim.web.operator import OperatorServices, Ports, operator_app, services_on
from tests.database import Database

A: Final = "8988307000000000001F"
B: Final = "8988211000000000002F"
_SERIAL: Final = 89049032000001000000000000000000


TENANTS_OWN: Final = frozenset(Scope) - {Scope.TENANTS}  # what a token of any tenant may have


def eid_text(number: int) -> str:
    """The EID of card `number`, with check digits that hold."""
    digits = str(_SERIAL // 100 + number) + "00"
    return digits[:-2] + f"{98 - int(digits) % 97:02}"


def eid_of(number: int) -> Eid:
    return Eid(bytes.fromhex(eid_text(number)))


def no_roots(euicc: bytes, eum: bytes) -> TrustedEuicc:
    """The judge of an eIM without any configured root."""
    raise UntrustedCertificate("the chain leads to no configured root", "euicc-no-root")


class KeyInMemory:
    """A data key without a file."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(256))

    def seal(self, plain: bytes, about: bytes) -> bytes:
        return self._cipher.encrypt(bytes(12), plain, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        return self._cipher.decrypt(bytes(12), sealed, about)


DATA_KEY: Final = KeyInMemory()


def now() -> datetime:
    return datetime.now(UTC)


async def ready() -> tuple[str, ...]:
    return ()


def services_of(database: Database) -> OperatorServices:
    return services_on(database.pool(DbRole.OPERATOR), Ports(no_roots, ready, DATA_KEY, now))


def caller_of(tenant: TenantId = DEFAULT_TENANT) -> Caller:
    return Caller(tenant, "token:test", frozenset(Scope))


@asynccontextmanager
async def client_of(app: Starlette, token: str | None) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://eim.test", headers=headers) as client:
        yield client


@asynccontextmanager
async def operator_client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with every scope, in the default tenant, which has one identity."""
    await database.seed_identity()
    services = services_of(database)
    made = await services.tokens.create(SETUP, NewToken("test", frozenset(Scope)))
    async with client_of(operator_app(services), made.secret) as client:
        yield client


async def second_tenant(database: Database) -> TenantId:
    await database.owner().execute("INSERT INTO tenants (id, name) VALUES (2, 'other')")
    await database.seed_identity(eim_id="other.example.com", tenant=TenantId(2))
    return TenantId(2)


async def onboard(database: Database, numbers: Sequence[int], caller: Caller | None = None) -> None:
    candidates = [Candidate(eid_text(number), tags=("even",) if number % 2 == 0 else ()) for number in numbers]
    await services_of(database).onboarding.add_many(caller or caller_of(), candidates, Rules(), None)


async def give_profiles(database: Database, number: int, enabled: str = A, disabled: str = B) -> None:
    """The card says that it has A enabled and B disabled, as a worker would store it."""
    eid, owner = eid_of(number), database.owner()
    profiles = ((enabled, "enabled", "Carrier A"), (disabled, "disabled", "Carrier B"))
    for iccid, state, provider in profiles:
        await owner.execute(
            "INSERT INTO profiles (bucket, eid, tenant, iccid, state, service_provider) VALUES ($1, $2, 1, $3, $4, $5)",
            bucket_of(eid), eid, parse_iccid(iccid), state, provider,
        )  # fmt: skip
    await owner.execute("UPDATE euiccs SET inventory_at = now() WHERE bucket = $1 AND eid = $2", bucket_of(eid), eid)
