"""Who calls the operator's interface: bearer tokens with scopes, each bound to one tenant."""

import hashlib
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self
from uuid import UUID, uuid4

import msgspec

from eim.domain.ids import DEFAULT_TENANT, TenantId
from eim.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from eim.services.limits import make_room_for_token
from eim.services.lines import answered_before, remember
from eim.store import Db, audit
from eim.store import tokens as rows
from eim.store.audit import Record
from eim.store.connect import Pool, transaction
from eim.store.orders import Repeat
from eim.store.tokens import Token

_PREFIX: Final = "eim_"
_REFUSAL: Final = "this call needs a valid token: send one as 'Authorization: Bearer eim_...'"


class Scope(StrEnum):
    """What a token may do. None implies another."""

    EUICCS_READ = "euiccs:read"
    EUICCS_WRITE = "euiccs:write"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"
    AUDIT_READ = "audit:read"
    EVENTS_READ = "events:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    ADMIN = "admin"  # tokens and identities
    TENANTS = "tenants"  # only in the installation's own tenant


class Caller(msgspec.Struct, frozen=True):
    """On whose behalf something happens. `actor` is how the audit names it: token:<name>, setup."""

    tenant: TenantId
    actor: str
    scopes: frozenset[Scope]
    token: UUID | None = None  # None: nobody outside


SETUP: Final = Caller(DEFAULT_TENANT, "setup", frozenset(Scope))  # whoever starts the server makes the first token


class NewToken(msgspec.Struct, frozen=True):
    name: str
    scopes: frozenset[str]
    expires_at: datetime | None = None


class Created(msgspec.Struct, frozen=True):
    """A new token. `secret` is shown this once: only its hash is kept, so it is empty in the answer to a repeat."""

    id: UUID
    secret: str

    def __repr__(self) -> str:
        return f"Created(id={self.id!r})"

    def forgotten(self) -> Self:
        """As it may be kept."""
        return msgspec.structs.replace(self, secret="")


class Tokens:
    """Makes, checks and revokes tokens. Holds the operator role's pool, nothing else."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, caller: Caller, new: NewToken, repeat: Repeat | None = None) -> Created:
        """Make a token in the caller's tenant. Raises InvalidRequest, Forbidden, LimitReached."""
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, uuid4(), Created)
            if before is not None:
                return before
            made = await issue(db, caller, new)
            await remember(db, caller.tenant, repeat, made.forgotten())
        return made

    async def rotate(self, caller: Caller, token: UUID, grace: timedelta, repeat: Repeat | None) -> Created:
        """Make a successor with the same name, scopes and end; the old one works for `grace` more.

        Raises NotFound for a token that is none, or works no more.
        """
        async with transaction(self._pool, tenant=caller.tenant) as db:
            before = await answered_before(db, caller.tenant, repeat, uuid4(), Created)
            if before is not None:
                return before
            old = await rows.end_within(db, caller.tenant, token, grace)
            if old is None:
                raise NotFound(f"there is no token {token} that works")
            made = await _insert(db, caller.tenant, NewToken(old.name, frozenset(old.scopes), old.expires_at))
            about: dict[str, object] = {"old": str(token), "new": str(made.id), "grace_s": grace.total_seconds()}
            await audit.write(db, [Record(caller.tenant, caller.actor, "token.rotate", old.name, about)])
            await remember(db, caller.tenant, repeat, made.forgotten())
        return made

    async def verify(self, secret: str) -> Caller:
        """Whose token this is. Raises Unauthenticated with the same sentence whatever is wrong with it."""
        if not (secret.startswith(_PREFIX) and secret.isascii() and len(secret) < 200):
            raise Unauthenticated(_REFUSAL)
        async with transaction(self._pool, tenant=None) as db:
            row = await rows.find(db, _hash(secret))
        if row is None:
            raise Unauthenticated(_REFUSAL)
        known = frozenset(Scope)
        scopes = frozenset(Scope(s) for s in row.scopes if s in known)
        if row.tenant != DEFAULT_TENANT:
            scopes -= {Scope.TENANTS}
        return Caller(row.tenant, f"token:{row.name}", scopes, row.id)

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


async def issue(db: Db, caller: Caller, new: NewToken) -> Created:
    """Make a token in the caller's tenant, whose transaction this is, with its audit record.

    Raises InvalidRequest for one that could do nothing, Forbidden for one that could more than it may, LimitReached.
    """
    if not new.scopes:
        raise InvalidRequest("a token needs at least one scope: " + ", ".join(Scope))
    if Scope.TENANTS in new.scopes and (caller.tenant != DEFAULT_TENANT or Scope.TENANTS not in caller.scopes):
        raise Forbidden("the scope tenants is given by a token that has it, in the installation's own tenant")
    await make_room_for_token(db, caller.tenant)
    made = await _insert(db, caller.tenant, new)
    about: dict[str, object] = {"token": str(made.id), "scopes": sorted(new.scopes)}
    await audit.write(db, [Record(caller.tenant, caller.actor, "token.create", new.name, about)])
    return made


async def _insert(db: Db, tenant: TenantId, new: NewToken) -> Created:
    secret = _PREFIX + secrets.token_urlsafe(32)
    row = Token(uuid4(), tenant, new.name, tuple(sorted(new.scopes)), None, new.expires_at)
    await rows.insert(db, row, _hash(secret))
    return Created(row.id, secret)


def refuse_unauthenticated() -> Unauthenticated:
    """The one refusal of who shows no token or a wrong one."""
    return Unauthenticated(_REFUSAL)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
