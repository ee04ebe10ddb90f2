"""The database held against the cards' journals (docs/operating.md): what a test may find, in sentences."""

from collections.abc import Iterable
from typing import Final

from eim.domain.ids import format_eid
from eim.sim.journal import Entry, Executed
from eim.store.connect import Pool

_AUDITED: Final = """
    SELECT p.eid, p.counter, a.action, count(*) AS times
      FROM packages p JOIN audit a ON a.bucket = p.bucket AND a.subject = p.operation::text
                                  AND (a.data ->> 'counter')::integer = p.counter
     WHERE p.counter IS NOT NULL AND a.action IN ('package.sealed', 'package.handed')
     GROUP BY 1, 2, 3
"""
_CARRIED: Final = """
    SELECT p.eid, p.counter, p.operation, o.state
      FROM packages p JOIN operations o ON o.bucket = p.bucket AND o.id = p.operation
     WHERE p.counter IS NOT NULL
"""
_HEADS: Final = """
    SELECT m.eid, m.number, p.state, o.state AS operation, m.handed_at IS NOT NULL AS out
      FROM mailbox m
      LEFT JOIN packages p ON p.bucket = m.bucket AND p.eid = m.eid AND p.number = m.number
      LEFT JOIN operations o ON o.bucket = m.bucket AND o.id = m.operation
     WHERE m.sealed IS NOT NULL
"""
_SEALED_NOWHERE: Final = """
    SELECT o.id, o.state FROM operations o
     WHERE o.state IN ('sealed', 'out')
       AND NOT EXISTS (SELECT 1 FROM packages p WHERE p.bucket = o.bucket AND p.eid = o.eid AND p.operation = o.id
                                                  AND p.state IN ('waiting', 'head'))
"""


async def faults(owner: Pool, entries: Iterable[Entry]) -> list[str]:
    """What is wrong with what was executed, and with what is out or would go out next."""
    executed = [entry for entry in entries if isinstance(entry, Executed)]
    return [
        *await _unaudited(owner, executed),
        *await _misattributed(owner, executed),
        *await _contradictions(owner),
    ]


async def _unaudited(owner: Pool, executed: Iterable[Executed]) -> list[str]:
    """I4: every executed package was recorded as sealed and as handed out, once."""
    audited = {(format_eid(r["eid"]), r["counter"], r["action"]): r["times"] for r in await owner.fetch(_AUDITED)}
    return [
        f"counter {entry.counter} of {entry.eid} was executed, {action} is recorded {times} times"
        for entry in executed
        for action in ("package.sealed", "package.handed")
        if (times := audited.get((entry.eid, entry.counter, action), 0)) != 1
    ]


async def _misattributed(owner: Pool, executed: Iterable[Executed]) -> list[str]:
    """What a card executed is one operation's, once, and that one did not end without it."""
    carried = {(format_eid(r["eid"]), r["counter"]): (r["operation"], r["state"]) for r in await owner.fetch(_CARRIED)}
    found, seen = [], set()
    for entry in executed:
        operation, state = carried.get((entry.eid, entry.counter), (None, "unknown"))
        if state in {"unknown", "withdrawn", "expired", "accepted", "sealed"}:
            found.append(f"counter {entry.counter} of {entry.eid} was executed, its operation is {state}")
        if operation in seen:
            found.append(f"operation {operation} was executed under two counters")
        seen.add(operation)
    return found


async def _contradictions(owner: Pool) -> list[str]:
    found = [f"operation {r['id']} is {r['state']} without a package" for r in await owner.fetch(_SEALED_NOWHERE)]
    for row in await owner.fetch(_HEADS):
        eid, state = format_eid(row["eid"]), "out" if row["out"] else "sealed"
        if row["state"] != "head":
            found.append(f"package {row['number']} of {eid} is the head and {row['state']}")
        if row["operation"] not in {state, "in_doubt"}:
            found.append(f"the head of {eid} is {state}, its operation {row['operation']}")
    return found
