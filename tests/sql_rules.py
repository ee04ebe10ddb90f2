"""The rules that keep our SQL running on a plain table, a partitioned one and Citus alike (design 3.5).

`schema_faults` judges migrations, `statement_faults` what runs every day. A fault is a sentence.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pglast
from pglast import ast

Node = Any  # pglast's nodes: its wheel carries no types

# Each gives another answer at each call, so two replicas of one UPDATE would differ. now() does not.
_VOLATILE: Final = {
    *("random", "random_normal", "gen_random_uuid", "gen_random_bytes", "uuidv4", "uuidv7", "clock_timestamp"),
    *("timeofday", "nextval", "setval", "pg_backend_pid"),
}
_COUNTING: Final = {"serial", "bigserial", "smallserial", "serial4", "serial8", "serial2"}
_STATEMENTS: Final = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)
_KEYS: Final = (pglast.enums.ConstrType.CONSTR_PRIMARY, pglast.enums.ConstrType.CONSTR_UNIQUE)


class Schema:
    """What migrations make: which tables hold device data, and what breaks a rule."""

    def __init__(self) -> None:
        self.device: set[str] = set()
        self.faults: list[str] = []

    def add(self, sql: str) -> None:
        """Read one more migration."""
        for raw in pglast.parse_sql(sql):
            self._add_statement(raw.stmt, _text(sql, raw))

    def _add_statement(self, statement: Node, text: str) -> None:
        if _is(statement, ast.CreateStmt):
            self._add_table(statement)
        elif _is(statement, ast.IndexStmt):
            columns = {column.name for column in statement.indexParams}
            if statement.unique and statement.relation.relname in self.device and "bucket" not in columns:
                self.faults.append(f"unique index {statement.idxname}: has no bucket")
        elif _is(statement, ast.CreateTrigStmt):
            self.faults.append(f"{statement.relation.relname}: has a trigger")
        elif _is(statement, ast.RuleStmt):
            self.faults.append(f"{statement.relation.relname}: has a rule")
        elif _is(statement, ast.CreateFunctionStmt) and _is_plpgsql(statement):
            for query in _queries(pglast.parse_plpgsql(text)):
                self.faults.extend(statement_faults(query, self.device))
        elif _is(statement, *_STATEMENTS):
            self.faults.extend(statement_faults(text, self.device))

    def _add_table(self, table: Node) -> None:
        name = table.relation.relname
        columns = [element for element in table.tableElts if _is(element, ast.ColumnDef)]
        keys = list(_constraints(table))
        if any(_names(key.keys)[:1] == ["bucket"] and len(key.keys) > 1 for key in keys if _is_primary(key)):
            self.device.add(name)
        for column in columns:
            if column.typeName.names[-1].sval in _COUNTING:
                self.faults.append(f"{name}.{column.colname}: counts by itself")
        if name in self.device:
            self.faults.extend(f"{name}: {fault}" for key in keys for fault in self._key_faults(key))

    def _key_faults(self, key: Node) -> Iterator[str]:
        if key.contype in _KEYS and "bucket" not in _names(key.keys):
            yield f"the key {_names(key.keys)} has no bucket"
        foreign = key.contype == pglast.enums.ConstrType.CONSTR_FOREIGN
        if foreign and key.pktable.relname in self.device and "bucket" not in _names(key.fk_attrs):
            yield f"the foreign key to {key.pktable.relname} leaves the bucket"


def statement_faults(sql: str, device: set[str]) -> list[str]:
    """What `sql` does that the rules forbid, given the names of the tables with device data."""
    tree = pglast.parse_sql(sql)
    faults = [fault for node, names in _scopes(tree) for fault in _faults(node, device - names)]
    faults.extend("it takes an advisory lock" for name in _calls(tree) if "advisory" in name)
    return faults


def _faults(node: Node, device: set[str]) -> Iterator[str]:
    """What one SELECT, INSERT, UPDATE or DELETE does, statements inside of it left out."""
    if _is(node, ast.InsertStmt):
        if node.relation.relname in device and "bucket" not in {column.name for column in node.cols or ()}:
            yield f"{node.relation.relname} is written without its bucket"
        return
    tables = {alias: table for alias, table in _tables(node).items() if table in device}
    conditions = list(_bucket_conditions(node))
    named = {side for side, _ in conditions}
    fixed = {side for side, to_one in conditions if to_one}
    if not _is_listing(node):
        yield from (f"{table} is used without its bucket" for alias, table in tables.items() if not named & {alias, ""})
    if _is(node, ast.SelectStmt) and node.lockingClause and tables and not fixed & {*tables, ""}:
        yield f"{', '.join(tables.values())}: rows of more than one bucket are locked"
    if _is(node, ast.UpdateStmt):
        yield from (f"the UPDATE calls {name}()" for name in _calls(node) & _VOLATILE)


def _is_listing(node: Node) -> bool:
    """Whether this is what an operator may ask of all buckets at once: to see, not to change, one tenant's rows."""
    return (
        _is(node, ast.SelectStmt)
        and not node.lockingClause
        and any(
            _is(condition, ast.A_Expr)
            and _is(condition.rexpr, ast.ParamRef)
            and _is(condition.lexpr, ast.ColumnRef)
            and condition.lexpr.fields[-1].sval == "tenant"
            for condition in _below(node.whereClause, into_statements=False)
        )
    )


def _scopes(tree: Node, names: frozenset[str] = frozenset()) -> Iterator[tuple[Node, frozenset[str]]]:
    """Every SELECT, INSERT, UPDATE, DELETE in `tree`, with the names of WITH that it may mean instead of tables."""
    for node in _below(tree, into_statements=False):
        if _is(node, *_STATEMENTS):
            inner = names | {cte.ctename for cte in node.withClause.ctes} if node.withClause else names
            yield node, inner
            for value in _values(node):
                yield from _scopes(value, inner)


def _tables(statement: Node) -> dict[str, str]:
    """alias: table, for what this statement itself reads or changes."""
    found = {}
    for value in _values(statement):
        for node in _below(value, into_statements=False):
            if _is(node, ast.RangeVar):
                found[node.alias.aliasname if node.alias else node.relname] = node.relname
    return found


def _bucket_conditions(statement: Node) -> Iterator[tuple[str, bool]]:
    """(alias or "", whether it is fixed to one) for each bucket that this statement compares with something."""
    for value in _values(statement):
        for node in _below(value, into_statements=False):
            if _is(node, ast.JoinExpr):
                yield from (("", False) for name in node.usingClause or () if name.sval == "bucket")
            elif _is(node, ast.SubLink):
                yield from ((side, False) for side in map(_bucket_of, _flat(node.testexpr)) if side is not None)
            elif _is(node, ast.A_Expr):
                sides = [_bucket_of(side) for side in _flat(node.lexpr, node.rexpr)]
                fixed = None in sides and node.kind == pglast.enums.A_Expr_Kind.AEXPR_OP
                yield from ((side, fixed) for side in sides if side is not None)


def _is(node: Node, *kinds: type) -> bool:
    return isinstance(node, kinds)


def _flat(*sides: Node) -> Iterator[Node]:
    for side in sides:
        yield from side.args if _is(side, ast.RowExpr) else (side,)


def _bucket_of(side: Node) -> str | None:
    """The alias whose bucket this is, "" when it names none; None when it is something else."""
    if not _is(side, ast.ColumnRef):
        return None
    *alias, column = [getattr(field, "sval", "*") for field in side.fields]
    if column != "bucket":
        return None
    return alias[-1] if alias else ""


def _calls(tree: Node) -> set[str]:
    return {node.funcname[-1].sval for node in _below(tree, into_statements=True) if _is(node, ast.FuncCall)}


def _below(tree: Node, *, into_statements: bool) -> Iterator[Node]:
    """The nodes of `tree`; statements inside of it are given too, but entered only when asked."""
    if isinstance(tree, tuple | list):
        for one in tree:
            yield from _below(one, into_statements=into_statements)
    elif _is(tree, ast.Node):
        yield tree
        if into_statements or not _is(tree, *_STATEMENTS):
            for value in _values(tree):
                yield from _below(value, into_statements=into_statements)


def _values(node: Node) -> Iterator[Node]:
    yield from (getattr(node, slot) for slot in node)


def _constraints(table: Node) -> Iterator[Node]:
    for element in table.tableElts:
        if _is(element, ast.Constraint):
            yield element
        for inline in getattr(element, "constraints", None) or ():
            if inline.contype in _KEYS:
                inline.keys = (ast.String(element.colname),)
                yield inline


def _is_primary(key: Node) -> bool:
    return bool(key.contype == pglast.enums.ConstrType.CONSTR_PRIMARY)


def _names(keys: Node) -> list[str]:
    return [key.sval for key in keys or ()]


def _is_plpgsql(function: Node) -> bool:
    return any(option.defname == "language" and option.arg.sval == "plpgsql" for option in function.options)


def _text(sql: str, raw: Node) -> str:
    octets = sql.encode()
    end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(octets)
    return octets[raw.stmt_location : end].decode()


def _queries(body: object) -> Iterator[str]:
    """The statements inside of a PL/pgSQL function, expressions and assignments left out."""
    if isinstance(body, Mapping):
        if isinstance(query := body.get("query"), str) and query.lstrip().upper().startswith(
            ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
        ):
            yield query
        for value in body.values():
            yield from _queries(value)
    elif isinstance(body, list):
        for value in body:
            yield from _queries(value)
    elif isinstance(body, str) and body[:1] in "[{":
        yield from _queries(json.loads(body))
