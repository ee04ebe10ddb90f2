"""Who calls the operator's interface: bearer tokens with scopes, each bound to one tenant."""

import hashlib
import secrets
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid4

import msgspec

from eim.domain.ids import DEFAULT_TENANT, TenantId
from eim.errors import InvalidRequest, NotFound, Unauthenticated
from eim.store import audit
from eim.store import tokens as rows
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.tokens import Token

_PREFIX: Final = "eim_"
_REFUSAL: Final = "this call needs a valid token: send one as 'Authorization: Bearer eim_...'"


class Scope(StrEnum):
    """What a token may do. None implies another."""

    EUICCS_READ = "euiccs:read"
    EUICCS_WRITE = "euiccs:write"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"
    ADMIN = "admin"  # tokens


class Caller(msgspec.Struct, frozen=True):
    """On whose behalf something happens. `actor` is how the audit names it: token:<name>, setup."""

    tenant: TenantId
    actor: str
    scopes: frozenset[Scope]


SETUP: Final = Caller(DEFAULT_TENANT, "setup", frozenset(Scope))  # whoever starts the server makes the first token


class NewToken(msgspec.Struct, frozen=True):
    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None = None


class Created(msgspec.Struct, frozen=True):
    """A new token. `secret` is shown this once; only its hash is kept."""

    id: UUID
    secret: str

    def __repr__(self) -> str:
        return f"Created(id={self.id!r})"


class Tokens:
    """Makes, checks and revokes tokens. Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, caller: Caller, new: NewToken) -> Created:
        """Make a token in the caller's tenant. Raises InvalidRequest for one that could do nothing."""
        if not new.scopes:
            raise InvalidRequest("a token needs at least one scope: " + ", ".join(Scope))
        secret = _PREFIX + secrets.token_urlsafe(32)
        row = Token(uuid4(), caller.tenant, new.name, tuple(sorted(new.scopes)), None, new.expires_at)
        async with transaction(self._pool, tenant=caller.tenant) as db:
            await rows.insert(db, row, _hash(secret))
            data = {"token": str(row.id), "scopes": list(row.scopes)}
            await audit.write(db, [Record(caller.tenant, caller.actor, "token.create", new.name, data)])
        return Created(row.id, secret)

    async def verify(self, secret: str) -> Caller:
        """Whose token this is. Raises Unauthenticated with the same sentence whatever is wrong with it."""
        if not (secret.startswith(_PREFIX) and secret.isascii() and len(secret) < 200):
            raise Unauthenticated(_REFUSAL)
        async with transaction(self._pool, tenant=None) as db:
            row = await rows.find(db, _hash(secret))
        if row is None:
            raise Unauthenticated(_REFUSAL)
        known = frozenset(Scope)
        return Caller(row.tenant, f"token:{row.name}", frozenset(Scope(s) for s in row.scopes if s in known))

    async def revoke(self, caller: Caller, token: UUID) -> Token:
        """End a token at once; again changes nothing. Raises NotFound."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            row = await rows.revoke(db, caller.tenant, token)
            if row is None:
                raise NotFound(f"there is no token {token}")
            await audit.write(
                db, [Record(caller.tenant, caller.actor, "token.revoke", row.name, {"token": str(token)})]
            )
        return row

    async def list(self, caller: Caller) -> tuple[Token, ...]:
        """The tenant's tokens that work, oldest first."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            return await rows.of_tenant(db, caller.tenant)


def refuse_unauthenticated() -> Unauthenticated:
    """The one refusal of who shows no token or a wrong one."""
    return Unauthenticated(_REFUSAL)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
