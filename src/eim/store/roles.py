"""Roles and the database itself: what exists in a Postgres before the first table does."""

from collections.abc import Mapping
from typing import Final

import asyncpg

from eim.errors import BadConfiguration
from eim.store import Db
from eim.store.connect import DbRole, group_role

GROUPS: Final = (DbRole.DEVICE, DbRole.OPERATOR, DbRole.WORKER)
DATABASE: Final = "eim"

_ROLE_EXISTS: Final = "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)"
_DATABASE_EXISTS: Final = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)"
# DDL takes no parameters, so the server itself writes the statement, quoted.
_CREATE_GROUP: Final = "SELECT format('CREATE ROLE %I NOLOGIN', $1::text)"
_CREATE_LOGIN: Final = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
_CREATE_DATABASE: Final = "SELECT format('CREATE DATABASE %I OWNER %I', $1::text, $2::text)"
_KEEP_OTHERS_OUT: Final = "SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', $1::text)"
_ALLOW_CONNECT: Final = "SELECT format('GRANT CONNECT ON DATABASE %I TO %I', $1::text, $2::text)"
_ADD_MEMBER: Final = "SELECT format('GRANT %I TO %I', $1::text, $2::text)"
_LET_ME_ACT_AS: Final = "SELECT format('GRANT %I TO CURRENT_USER', $1::text)"


async def create_groups(db: Db) -> None:
    """Create the group roles that are absent, the present login a member of each. Safe to repeat, also at once.

    Raises BadConfiguration when this login may not create roles.
    """
    for group in map(group_role, GROUPS):
        if await db.fetchval(_ROLE_EXISTS, group):
            continue
        try:
            await _run(db, _CREATE_GROUP, group)
            await _run(db, _LET_ME_ACT_AS, group)
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            continue  # another starter was faster
        except asyncpg.InsufficientPrivilegeError as refusal:
            raise BadConfiguration(
                f"the role {group} does not exist and this login may not create it: "
                f"let an administrator run CREATE ROLE {group} NOLOGIN, and see docs/database.md"
            ) from refusal


async def create_logins(db: Db, passwords: Mapping[DbRole, str]) -> None:
    """Create the group roles and a login for each and for the owner, where absent. For the embedded server."""
    await create_groups(db)
    for role, password in passwords.items():
        if await db.fetchval(_ROLE_EXISTS, login_role(role)):
            continue
        async with db.transaction():
            await _run(db, _CREATE_LOGIN, login_role(role), password)
            if role is not DbRole.OWNER:
                await _run(db, _ADD_MEMBER, group_role(role), login_role(role))


async def create_database(db: Db) -> None:
    """Create the database, the owner's, closed to all but our logins, where absent. For the embedded server."""
    if not await db.fetchval(_DATABASE_EXISTS, DATABASE):
        await _run(db, _CREATE_DATABASE, DATABASE, login_role(DbRole.OWNER))
    await close_to_others(db, DATABASE)


async def close_to_others(db: Db, database: str) -> None:
    """Let nobody into `database` but its owner and our roles, and those make no temporary tables in it."""
    await _run(db, _KEEP_OTHERS_OUT, database)
    for group in map(group_role, GROUPS):
        await _run(db, _ALLOW_CONNECT, database, group)


def login_role(role: DbRole) -> str:
    """The login of the embedded server for `role`."""
    return "eim_owner" if role is DbRole.OWNER else f"eim_{role.value}_login"


async def _run(db: Db, template: str, *names: str) -> None:
    await db.execute(await db.fetchval(template, *names))
