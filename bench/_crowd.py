"""Very many eUICCs, made where they are kept: introduced long ago, a share of them with a sealed package waiting."""

from typing import Final

from eim.domain.ids import Eid
from tests.database import Database

# An EID's last digits are its number, so that anybody can say who is there; check digits only matter for strangers.
_EUICCS: Final = """
    INSERT INTO euiccs (bucket, eid, tenant, identity, counter, packages, speaks, introduced_at, last_seen_at)
    SELECT ((get_byte(d, 0) << 2) | (get_byte(d, 1) >> 6))::smallint, eid, 1, 1, 0, 0, '1.2', now(), now()
      FROM (SELECT eid, sha256(eid) AS d
              FROM (SELECT decode('8904' || lpad(n::text, 28, '0'), 'hex') AS eid FROM generate_series(1, $1) AS n) AS a
           ) AS b
     ORDER BY 1, 2
"""
_MAILBOX: Final = "INSERT INTO mailbox (bucket, eid, tenant) SELECT bucket, eid, 1 FROM euiccs ORDER BY bucket, eid"
_OPERATIONS: Final = """
    INSERT INTO operations (bucket, id, eid, tenant, identity, ordinal, kind, state, ordered_by)
    SELECT bucket, gen_random_uuid(), eid, 1, 1, 1, 'listProfileInfo', 'sealed', 'bench'
      FROM euiccs WHERE ('x' || substr(encode(eid, 'hex'), 25))::bit(32)::bigint % $1 = 0
"""
_PACKAGES: Final = """
    INSERT INTO packages (bucket, eid, number, operation, identity, counter, transaction, speaks, sealed, gate,
                          not_before, state)
    SELECT bucket, eid, 1, id, 1, 1, int2send(bucket) || substr(sha256(eid), 3, 14), '1.2', $1, 1, now(), 'head'
      FROM operations
"""
_HEADS: Final = """
    UPDATE mailbox m SET number = 1, operation = p.operation, counter = 1, sealed = p.sealed
      FROM packages p WHERE p.bucket = m.bucket AND p.eid = m.eid
"""
_SEALED: Final = bytes.fromhex("BF5181D4") + bytes(212)  # as long as a usual package


async def fill(database: Database, count: int, one_in: int) -> None:
    """`count` eUICCs; one in `one_in` has a package in its mailbox."""
    await database.seed_identity()
    owner = database.owner()
    for statement, *values in (
        (_EUICCS, count),
        (_MAILBOX,),
        (_OPERATIONS, one_in),
        (_PACKAGES, _SEALED),
        (_HEADS,),
    ):
        await owner.execute(statement, *values, timeout=600)


def eid_of(number: int) -> Eid:
    """The EID of the `number`-th, from 1 on."""
    return Eid(bytes.fromhex(f"8904{number:028d}"))
