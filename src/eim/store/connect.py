"""Pools and transactions: every connection acts as one of the group roles, in one schema."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from eim.domain.ids import TenantId
from eim.errors import BadConfiguration, Contended, DatabaseUnavailable
from eim.store import Db
from eim.store.columns import ask_quickly

DEFAULT_SCHEMA: Final = "eim"
_COMMAND_TIMEOUT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 5.0
_IDLE_S: Final = 300.0
# A dead database machine is noticed in about half a minute, not in the kernel's two hours.
_KEEPALIVE: Final = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
# A process that froze in the middle of a transaction holds locks that nobody could ever get otherwise.
_FROZEN: Final = {"idle_in_transaction_session_timeout": "30s"}
# A worker that froze is taken for dead when its lease is over; the others can't have its buckets while it locks them.
_FROZEN_AT_WORK: Final = {"idle_in_transaction_session_timeout": "10s"}
# The statements of workers and device processes are kept planned for days. One that was planned while a table was
# nearly empty would go on reading all of it, row for row of another, until statistics are made the next time: in the
# first campaign of an installation that costs several times the sealing itself, and the taking in of its results.
_BY_INDEX: Final = {"enable_seqscan": "off", "jit": "off"}
# What a device asks for is found by keys, whatever they are. Left to itself PostgreSQL plans a statement anew each time
# when it was asked of few at first, and a plan costs more than the answer to a hundred polls.
_ONCE_FOR_ALL: Final = {**_BY_INDEX, "plan_cache_mode": "force_generic_plan"}
_SET_TENANT: Final = "SELECT set_config('eim.tenant', $1, true)"
_NOTHING: Final = "SELECT 1"
_PLAN_ANEW: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
_UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
_MISCONFIGURED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidRoleSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidParameterValueError,
    asyncpg.ClientConfigurationError,
    asyncpg.UndefinedObjectError,
)


class DbRole(StrEnum):
    """Whose rights a connection has. The group role in the database is named by `group_role`."""

    OWNER = "owner"  # owns the tables; migrations and set-up only
    DEVICE = "device"
    OPERATOR = "operator"
    WORKER = "worker"


Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


def group_role(role: DbRole) -> str:
    """The NOLOGIN role that migrations grant rights to; DbRole.OWNER has none."""
    return f"eim_{role.value}"


async def open_pool(dsn: str, role: DbRole, schema: str | None = None, size: int = 10) -> Pool:
    """At most `size` connections that act as `role` in `schema` (DEFAULT_SCHEMA when None); the first is made now.

    The login in `dsn` must be a member of the role's group role; DbRole.OWNER acts as the login itself. Connections
    come back from use without a reset query: whoever changes a setting does it with SET LOCAL.
    Raises DatabaseUnavailable when nothing answers, BadConfiguration when the server refuses this login or role.
    """
    ask_quickly()
    try:
        return await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            init=_use_json,
            reset=_keep_settings,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            max_inactive_connection_lifetime=_IDLE_S,
            max_cached_statement_lifetime=0,
            server_settings=session_settings(role, schema),
        )
    except _MISCONFIGURED as refusal:
        raise BadConfiguration(f"the database refuses the {role.value} role: {refusal} (docs/database.md)") from refusal
    except (*_UNAVAILABLE, asyncpg.InterfaceError) as failure:
        raise _unavailable(failure) from failure


def session_settings(role: DbRole, schema: str | None) -> dict[str, str]:
    """The settings a connection starts with. pg_temp is last, so that no temporary table hides one of ours."""
    quoted = (schema or DEFAULT_SCHEMA).replace('"', '""')
    settings = {"search_path": f'"{quoted}", pg_temp', "application_name": f"eim {role.value}"}
    if role is not DbRole.OWNER:
        settings |= {"role": group_role(role), **_FROZEN}
    if role is DbRole.WORKER:
        settings |= {**_BY_INDEX, **_FROZEN_AT_WORK}
    if role is DbRole.DEVICE:
        settings |= _ONCE_FOR_ALL
    return settings | _KEEPALIVE


@asynccontextmanager
async def acquire(pool: Pool) -> AsyncIterator[Db]:
    """A connection of `pool`, given back at the end.

    Raises DatabaseUnavailable when it can't be had or is lost, Contended when another transaction went first.
    """
    try:
        async with pool.acquire(timeout=_CONNECT_TIMEOUT_S) as connection:
            try:
                yield connection
            except asyncpg.InterfaceError as failure:
                if _is_lost(connection):  # otherwise the error is ours and not the network's
                    raise _unavailable(failure) from failure
                raise
            except asyncpg.InternalClientError as failure:  # the server died between two messages: never used again
                connection.terminate()
                raise _unavailable(failure) from failure
    except asyncpg.TransactionRollbackError as failure:
        raise Contended("another transaction went first: try again at once") from failure
    except _UNAVAILABLE as failure:
        raise _unavailable(failure) from failure


@asynccontextmanager
async def transaction(pool: Pool, tenant: TenantId | None = None) -> AsyncIterator[Db]:
    """A transaction on a connection of `pool`: committed at the end, rolled back by any exception.

    tenant  whose rows the operator role sees and writes; None: no tenant's. The other roles see all.

    Raises DatabaseUnavailable as `acquire` does; whether a commit that it interrupts has happened is then unknown.
    """
    async with acquire(pool) as connection, connection.transaction():
        if tenant is not None:
            await connection.execute(_SET_TENANT, str(tenant))
        yield connection


@asynccontextmanager
async def listing(pool: Pool, tenant: TenantId) -> AsyncIterator[Db]:
    """A transaction that reads by filters of which most are absent: each statement is planned for the values it has.

    A plan for all values (PostgreSQL makes one after five executions) would look at every row for a rare tag.
    """
    async with transaction(pool, tenant) as db:
        await db.execute(_PLAN_ANEW)
        yield db


async def hold_nothing(db: Db) -> None:
    """After statements were prepared on a connection that is kept: end what that has begun.

    asyncpg asks for the end of it together with what it executes next: until then PostgreSQL holds the statements'
    tables against every migration, and a lane that has nothing to do for days would hold them for days.
    """
    await db.execute(_NOTHING)


def _is_lost(connection: Db) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken a dead connection back already
        return True


def _unavailable(failure: BaseException) -> DatabaseUnavailable | asyncio.CancelledError:
    task = asyncio.current_task()
    if task is not None and task.cancelling():  # what broke while the task was being ended must not keep it going
        return asyncio.CancelledError()
    if isinstance(failure, asyncpg.DiskFullError):
        return DatabaseUnavailable("the database's disk is full: free some space")
    if isinstance(failure, TimeoutError):
        return DatabaseUnavailable("the database did not answer in time: look at its load and its log")
    return DatabaseUnavailable(f"the database can't be reached: {failure}")


async def _keep_settings(connection: object) -> None:
    """asyncpg rolled back what was open; the usual reset query would double the cost of a poll."""


async def _use_json(connection: Db) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_jsonb, decoder=_from_jsonb, format="binary")


def _jsonb(value: object) -> bytes:
    return b"\x01" + msgspec.json.encode(value)


def _from_jsonb(octets: bytes) -> Any:  # the decoder's edge: the reader converts it to its own type
    return msgspec.json.decode(memoryview(octets)[1:])
