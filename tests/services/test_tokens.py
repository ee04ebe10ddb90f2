"""Tokens on a real database."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from eim.errors import InvalidRequest, NotFound, Unauthenticated
from eim.services.tokens import SETUP, Caller, NewToken, Scope, Tokens
from eim.store.connect import DbRole
from tests.database import Database
from tests.operator_side import second_tenant


def tokens_of(database: Database) -> Tokens:
    return Tokens(database.pool(DbRole.OPERATOR))


async def test_a_token_carries_its_tenant_its_name_and_its_scopes(database: Database) -> None:
    tokens, tenant = tokens_of(database), await second_tenant(database)
    other = Caller(tenant, "token:boss", frozenset(Scope))
    made = await tokens.create(other, NewToken("script", frozenset({Scope.EUICCS_READ})))
    assert await tokens.verify(made.secret) == Caller(tenant, "token:script", frozenset({Scope.EUICCS_READ}), made.id)


async def test_revoked_and_expired_tokens_stop_working_at_once(database: Database) -> None:
    tokens = tokens_of(database)
    revoked = await tokens.create(SETUP, NewToken("a", frozenset(Scope)))
    await tokens.verify(revoked.secret)
    await tokens.revoke(SETUP, revoked.id)
    await tokens.revoke(SETUP, revoked.id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = await tokens.create(SETUP, NewToken("b", frozenset(Scope), past))
    for secret in (revoked.secret, expired.secret):
        with pytest.raises(Unauthenticated):
            await tokens.verify(secret)
    assert await tokens.list(SETUP) == ()


async def test_a_tenant_can_not_revoke_or_list_tokens_of_another(database: Database) -> None:
    tokens, tenant = tokens_of(database), await second_tenant(database)
    made = await tokens.create(SETUP, NewToken("mine", frozenset(Scope)))
    other = Caller(tenant, "token:other", frozenset(Scope))
    with pytest.raises(NotFound):
        await tokens.revoke(other, made.id)
    assert await tokens.list(other) == ()
    await tokens.verify(made.secret)


async def test_making_and_revoking_is_audited_without_the_secret(database: Database) -> None:
    tokens = tokens_of(database)
    made = await tokens.create(SETUP, NewToken("script", frozenset({Scope.ADMIN})))
    await tokens.revoke(SETUP, made.id)
    rows = await database.owner().fetch("SELECT action, actor, subject, data::text AS data FROM audit ORDER BY action")
    assert [(r["action"], r["actor"], r["subject"]) for r in rows] == [
        ("token.create", "setup", "script"),
        ("token.revoke", "setup", "script"),
    ]
    assert all(made.secret not in row["data"] for row in rows)


async def test_a_token_without_a_scope_is_refused(database: Database) -> None:
    with pytest.raises(InvalidRequest):
        await tokens_of(database).create(SETUP, NewToken("idle", frozenset()))
    with pytest.raises(NotFound):
        await tokens_of(database).revoke(SETUP, uuid4())
