import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pglast
import pytest

import eim
from eim.store.connect import DbRole
from eim.store.migrate import load, statements
from tests.database import Database
from tests.sql_rules import Schema, statement_faults

_PACKAGE: Final = Path(eim.__file__).parent
_STORE: Final = _PACKAGE / "store"
_SQL: Final = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|ALTER|DROP|GRANT|REVOKE|LISTEN)\s")
_RUNS: Final = {"execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare", "cursor", "copy_records_to_table"}
_PREPARED: Final = {"_full", "_short", "_take"}  # attributes that hold a statement that was prepared from a constant
# The server itself writes these statements, quoted; and the advisory lock is for migrations alone.
_BUILDS_DDL: Final = {"migrate.py", "roles.py"}


def _schema() -> Schema:
    schema = Schema()
    for migration in load():
        schema.add(migration.sql)
    return schema


def _constants(path: Path) -> Iterator[tuple[str, str]]:
    """(name, SQL) of the module's constants that hold SQL."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text))) if _SQL.match(text):
                yield f"{path.name}:{name}", text
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))) if _SQL.match(text):
                yield f"{path.name}:{name}", text


_CONSTANTS: Final = [found for path in sorted(_STORE.rglob("*.py")) for found in _constants(path)]


def test_migrations_keep_the_rules() -> None:
    schema = _schema()
    assert {"euiccs", "mailbox", "operations", "packages", "results", "audit"} <= schema.device
    assert "leases" not in schema.device
    assert schema.faults == []


@pytest.mark.parametrize(("name", "sql"), _CONSTANTS, ids=[name for name, _ in _CONSTANTS])
def test_a_statement_keeps_the_rules(name: str, sql: str) -> None:
    if name.partition(":")[0] in _BUILDS_DDL:
        pglast.parse_sql(sql)
        return
    assert statement_faults(sql, _schema().device) == []


@pytest.mark.parametrize("migration", load(), ids=lambda migration: migration.name)
def test_migrations_are_applied_one_statement_a_call(migration: object) -> None:
    sql = getattr(migration, "sql", "")
    single = statements(sql)
    assert [len(pglast.parse_sql(statement)) for statement in single] == [1] * len(single)
    assert len(single) == len(pglast.parse_sql(sql))


async def test_a_statement_fits_the_schema_and_the_rights_of_some_role(database: Database) -> None:
    refused = []
    for name, sql in _CONSTANTS:
        if name.partition(":")[0] not in _BUILDS_DDL and not await _allowed(database, sql):
            refused.append(name)
    assert refused == []


async def _allowed(database: Database, sql: str) -> bool:
    for role in (DbRole.DEVICE, DbRole.OPERATOR, DbRole.WORKER):
        try:
            await database.pool(role).execute(f"EXPLAIN (GENERIC_PLAN) {sql}")
        except asyncpg.InsufficientPrivilegeError:
            continue
        return True
    return False


def test_the_rules_look_at_something() -> None:
    assert len(_CONSTANTS) > 50


@pytest.mark.parametrize("path", sorted(_STORE.rglob("*.py")), ids=lambda path: str(path.relative_to(_STORE)))
def test_a_statement_is_a_constant_never_put_together(path: Path) -> None:
    if path.name in _BUILDS_DDL:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=held))) if held in _PREPARED:
                pass  # judged where it was prepared
            case ast.Call(func=ast.Attribute(attr=method), args=[first, *_]) if method in _RUNS:
                assert isinstance(first, ast.Name), f"line {node.lineno}: {ast.unparse(first)} is no constant"
                assert first.id.isupper(), f"line {node.lineno}: {first.id} is no constant"
            case ast.JoinedStr() | ast.BinOp(op=ast.Add() | ast.Mod()):
                assert not any(
                    isinstance(part, ast.Constant) and isinstance(part.value, str) and _SQL.match(part.value)
                    for part in ast.walk(node)
                ), f"line {node.lineno}: SQL is put together"


def test_no_sql_outside_of_store() -> None:
    found = [
        f"{path.relative_to(_PACKAGE)}:{node.lineno}"
        for path in sorted(_PACKAGE.rglob("*.py"))
        if _STORE not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_sql(node.value)
    ]
    assert found == []


def _is_sql(text: str) -> bool:
    if not _SQL.match(text):
        return False
    try:
        return bool(pglast.parse_sql(text))
    except pglast.parser.ParseError:
        return False


_TABLE: Final = "CREATE TABLE cards (bucket smallint, eid bytea, n integer, PRIMARY KEY (bucket, eid));"


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELECT n FROM cards WHERE eid = $1", "without its bucket"),
        ("SELECT n FROM cards c JOIN gates g ON g.bucket = $1 WHERE c.eid = $1", "without its bucket"),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM cards WHERE eid = $1)", "without its bucket"),
        ("WITH a AS (DELETE FROM cards WHERE eid = $1 RETURNING n) SELECT n FROM a", "without its bucket"),
        ("UPDATE cards SET n = 1 WHERE eid = $1", "without its bucket"),
        ("UPDATE cards SET n = 1 WHERE tenant = $1", "without its bucket"),
        ("SELECT n FROM cards WHERE tenant = $1 FOR SHARE", "without its bucket"),
        ("UPDATE cards SET n = random() WHERE bucket = $1", "calls random"),
        ("SELECT n FROM cards WHERE bucket = ANY ($1) FOR UPDATE SKIP LOCKED", "more than one bucket"),
        ("INSERT INTO cards (eid) VALUES ($1)", "written without its bucket"),
        ("SELECT pg_advisory_xact_lock(1)", "advisory"),
    ],
)
def test_a_statement_that_breaks_a_rule_is_found(sql: str, fault: str) -> None:
    schema = Schema()
    schema.add(_TABLE)
    assert any(fault in found for found in statement_faults(sql, schema.device))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n FROM cards WHERE bucket = $1 AND eid = $2 FOR UPDATE",
        "SELECT c.n FROM unnest($1::smallint[]) AS u (bucket) JOIN cards c ON c.bucket = u.bucket",
        "SELECT n FROM cards WHERE (bucket, eid) = ANY (SELECT * FROM unnest($1, $2))",
        "WITH cards AS (SELECT 1 AS n) SELECT n FROM cards",
        "SELECT n, count(*) FROM cards WHERE tenant = $1 GROUP BY n",
        "UPDATE cards SET n = n + 1, at = now() WHERE bucket = $1",
        "INSERT INTO cards (bucket, eid) VALUES ($1, $2)",
    ],
)
def test_a_statement_that_keeps_the_rules_passes(sql: str) -> None:
    schema = Schema()
    schema.add(_TABLE)
    assert statement_faults(sql, schema.device) == []


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("CREATE UNIQUE INDEX i ON cards (eid)", "has no bucket"),
        ("CREATE TRIGGER t AFTER INSERT ON cards EXECUTE FUNCTION f()", "trigger"),
        ("CREATE RULE r AS ON DELETE TO cards DO ALSO DELETE FROM cards c WHERE c.bucket = OLD.bucket", "has a rule"),
        ("CREATE TABLE c (bucket smallint, a bigserial, PRIMARY KEY (bucket, a))", "counts by itself"),
        ("CREATE TABLE c (bucket smallint, a uuid UNIQUE, PRIMARY KEY (bucket, a))", "has no bucket"),
        (
            "CREATE TABLE c (bucket smallint, a bytea, PRIMARY KEY (bucket, a), FOREIGN KEY (a) REFERENCES cards (n))",
            "leaves the bucket",
        ),
        ("UPDATE cards SET n = 0", "without its bucket"),
        (
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM cards WHERE eid = ''; END $$",
            "without its bucket",
        ),
    ],
)
def test_a_migration_that_breaks_a_rule_is_found(sql: str, fault: str) -> None:
    schema = Schema()
    schema.add(_TABLE)
    schema.add(sql)
    assert any(fault in found for found in schema.faults)
