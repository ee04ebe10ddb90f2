"""Every write made to fail once: nothing is half done, and who comes again gets it done (reliability test 8).

The writes are taken from what the database grants to the three roles, so a new table or right is found here. A write
fails by a trigger that only a test's own database has, at its first row in each thing that somebody does.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import uuid4

import httpx2
import msgspec

from eim.domain.euicc import Speaks
from eim.domain.ids import Eid
from eim.domain.operation import Kind, Priority
from eim.errors import Unavailable
from eim.protocol.esipa import NO_PACKAGE
from eim.services.leasing import Leasing
from eim.services.tokens import SETUP
from eim.sim import messages
from eim.sim.behaviour import Carrier, Naming
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.sim.journal import check
from eim.store.connect import DbRole, Pool
from eim.web.operator import operator_app
from tests.chaos.evidence import faults
from tests.database import Database
from tests.operator_side import client_of, eid_text
from tests.services import rig as rigs
from tests.services.rig import Rig, inner
from tests.web.samples import SAMPLES, table_of

T = TypeVar("T")

_GRANTED: Final = """
    SELECT r.role, c.relname AS table, v.verb
      FROM (VALUES ('device'), ('operator'), ('worker')) AS r (role), (VALUES ('INSERT'), ('UPDATE')) AS v (verb),
           pg_class c
     WHERE c.relnamespace = 'eim'::regnamespace AND c.relkind = 'r'
       AND has_any_column_privilege('eim_' || r.role, c.oid, v.verb)
     ORDER BY 1, 2, 3
"""
_FUNCTION: Final = """
    CREATE FUNCTION eim.fail_once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $body$
    DECLARE
        failed boolean;
    BEGIN
        EXECUTE format('SELECT is_called FROM eim.failed_%s', TG_ARGV[0]) INTO failed;
        IF NOT failed THEN
            PERFORM pg_catalog.nextval(format('eim.failed_%s', TG_ARGV[0])); -- which no rollback takes back
            RAISE EXCEPTION 'a test says no' USING ERRCODE = 'disk_full';
        END IF;
        RETURN NEW;
    END
    $body$
"""
_PLACE: Final = """
    CREATE SEQUENCE eim.failed_{number};
    CREATE TRIGGER fail_{number} BEFORE {verb} ON eim.{table} FOR EACH ROW
    WHEN (current_setting('application_name') = 'eim {role}') EXECUTE FUNCTION eim.fail_once('{number}')
"""
_FAILED: Final = """
    SELECT split_part(sequencename, '_', 2)::integer AS number FROM pg_sequences
     WHERE sequencename LIKE 'failed\\_%' AND last_value IS NOT NULL
"""
_AGAIN: Final = """
    SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relname LIKE 'failed\\_%'
"""
_TABLES: Final = "SELECT relname FROM pg_class WHERE relnamespace = 'eim'::regnamespace AND relkind = 'r' ORDER BY 1"
_DIGEST: Final = """
    SELECT '{table}' AS table, count(*) || ' ' || coalesce(sum(xmin::text::bigint), 0) AS digest FROM eim.{table}
"""
_TOLD: Final = """
    SELECT o.id, count(e.id) AS times FROM operations o
      LEFT JOIN events e ON e.bucket = o.bucket AND e.eid = o.eid AND e.kind = 'operation.done'
                        AND e.data ->> 'operation' = o.id::text
     WHERE o.state = 'done' GROUP BY o.id HAVING count(e.id) <> 1
"""
_TRACED: Final = "UPDATE euiccs SET traced_until = now() + interval '1 hour', trace_left = 1000"
_ORDERS: Final = (
    (Kind.ENABLE, CARRIER_B),
    (Kind.LIST_PROFILES, None),
    (Kind.ENABLE, CARRIER_A),
    (Kind.DATA_REQUEST, None),
)


_UNAVAILABLE: Final = 503
_JSON: Final = {"Content-Type": "application/json"}
_AWAY: Final = f'{{"direction": "in", "eids": ["{eid_text(500)}"], "reason": "bought", "eim_id": "a.example.com"}}'
_MORE: Final = (  # what the samples of the routes do not write
    ("POST", "/v1/operations", '{"operation": "listProfileInfo", "eid": "EID"}', _JSON | {"Idempotency-Key": "once"}),
    ("PATCH", "/v1/euiccs/{eid}", '{"tags": ["a", "b"]}', _JSON),
    ("POST", "/v1/euiccs", f'{{"eid": "{eid_text(500)}"}}', _JSON),
    ("POST", "/v1/handovers", _AWAY, _JSON),
    ("POST", "/v1/euiccs:import", "eid\nnonsense\n", {"Content-Type": "text/csv"}),
)
_ELSEWHERE: Final = frozenset(  # rights that nobody uses on these ways
    (
        *("device UPDATE notifications", "device UPDATE results"),  # looked at again when a certificate comes
        *("operator UPDATE departed", "operator UPDATE webhook_dead_letters"),  # a second farewell; a dead letter
        *("worker INSERT audit_checkpoints", "worker INSERT audit_links"),  # tests/services/test_linking.py
        *("worker INSERT counter_jumps", "worker UPDATE counter_jumps"),  # tests/services/test_jumping.py
        *("worker INSERT gates", "worker INSERT identities", "worker INSERT identity_keys"),  # set-up and rotation
        *("worker UPDATE gates", "worker UPDATE identities"),
        *("worker UPDATE handover_cards", "worker INSERT foreign_transactions"),  # cards that change hands
        *("worker UPDATE notifications", "worker UPDATE smdps"),  # tests/services/test_forwarding.py
        *("worker INSERT webhook_dead_letters", "worker UPDATE webhook_dead_letters"),  # tests/connectors
        *("worker INSERT webhook_places", "worker UPDATE webhook_places", "worker UPDATE webhooks"),
        *("worker INSERT webhook_waits", "worker UPDATE webhook_waits"),
        *("worker INSERT events", "worker INSERT requests", "worker UPDATE results"),  # what is late, or past its time
        *("worker INSERT profiles", "worker UPDATE profiles"),
        "worker UPDATE requests",  # tests/services/test_clock.py
        *(
            "operator INSERT spreads",
            "worker UPDATE orders",
            "worker UPDATE spreads",
        ),  # tests/services/test_spreading.py
    )
)


class Write(msgspec.Struct, frozen=True, order=True):
    """A right that a role has."""

    role: str
    table: str
    verb: str

    def __str__(self) -> str:
        return f"{self.role} {self.verb} {self.table}"


class Failing:
    """Guards a database in which each write fails once, and again once after `again`."""

    def __init__(self, owner: Pool, writes: tuple[Write, ...], tables: tuple[str, ...]) -> None:
        self._owner = owner
        self.writes = writes
        self._content = " UNION ALL ".join(_DIGEST.format(table=table) for table in tables)
        self.failed: set[Write] = set()

    @classmethod
    async def of(cls, database: Database) -> "Failing":
        owner = database.owner()
        writes = tuple(Write(row["role"], row["table"], row["verb"]) for row in await owner.fetch(_GRANTED))
        made = cls(owner, writes, tuple(row["relname"] for row in await owner.fetch(_TABLES)))
        places = [
            _PLACE.format(number=number, verb=write.verb, table=write.table, role=write.role)
            for number, write in enumerate(writes)
        ]
        await owner.execute(";".join((_FUNCTION, *places)))
        return made

    async def again(self) -> None:
        """From now on each write fails once more."""
        await self._owner.execute(_AGAIN)

    async def new(self) -> set[Write]:
        """What has failed since `again`."""
        found = {self.writes[row["number"]] for row in await self._owner.fetch(_FAILED)}
        self.failed |= found
        return found

    async def content(self) -> dict[str, str]:
        """How many rows each table has and which transactions wrote them: a committed change shows."""
        return {row["table"]: row["digest"] for row in await self._owner.fetch(self._content)}

    async def whole(self, deed: Callable[[], Awaitable[T]]) -> T:
        """What somebody gets who does it again as often as it is refused; a refused one has changed nothing."""
        before = await self.content()
        return await self.resumed(deed, before)

    async def answered(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """The same for one who asks by HTTP. Only an upload counts by itself how far it has come (`imports`)."""
        before, failed = await self.content(), set[Write]()
        await self.again()
        while True:
            answer = await ask()
            now = await self.new()
            if answer.status_code != _UNAVAILABLE:
                return answer
            assert now > failed, "refused, and nothing more had failed"
            after = await self.content()
            assert {table for table in after if after[table] != before[table]} <= {"imports"}, answer.url
            failed = now

    def all_did(self, *roles: str) -> None:
        """Every write of these roles has failed, but for those that the lists above name, and for none of those."""
        missed = {str(write) for write in self.writes if write.role in roles and write not in self.failed}
        assert missed == {name for name in _ELSEWHERE if name.split()[0] in roles}

    async def resumed(self, deed: Callable[[], Awaitable[T]], before: dict[str, str] | None = None) -> T:
        """The same for what is done in several transactions, of which some may have been committed."""
        await self.again()
        failed: set[Write] = set()
        while True:
            try:
                done = await deed()
            except Unavailable:
                now = await self.new()
                assert now > failed, "refused, and nothing more had failed"
                assert before in (None, await self.content())
                failed = now
            else:
                await self.new()
                return done


async def test_a_device_s_way_goes_on_whatever_write_of_it_fails(database: Database) -> None:
    """Reliability 8: refused with 503 and nothing changed, or done; and in the end as if nothing had been."""
    rig = await rigs.start(database)
    failing, card = await Failing.of(database), rig.cards[0]
    await failing.whole(rig.onboard)
    await database.owner().execute(_TRACED)
    await _visit(rig, failing, card)
    for kind, carrier in _ORDERS:
        await failing.whole(lambda kind=kind, carrier=carrier: rig.order(card, kind, carrier))  # type: ignore[misc]
        await _visit(rig, failing, card)
    await failing.whole(lambda: rig.order(card, Kind.LIST_PROFILES))
    await failing.resumed(rig.work)
    await failing.whole(
        lambda: rig.order(card, Kind.DATA_REQUEST, priority=Priority.URGENT)
    )  # takes back what is sealed
    await _visit(rig, failing, card)
    regretted = await failing.whole(lambda: rig.order(card, Kind.DATA_REQUEST))
    await failing.whole(lambda: rig.operations.withdraw(SETUP, regretted))
    await _visit(rig, failing, card, cause=4)
    await failing.whole(lambda: rig.send(_of_nobody(card)))
    report = check(rig.journal.entries)
    assert report.sound
    assert await faults(database.owner(), rig.journal.entries) == []
    states = [row["state"] for row in await rig.rows("operations", card)]
    assert states.count("withdrawn") == 1
    assert set(states) == {"done", "withdrawn"}
    assert await database.owner().fetch(_TOLD) == []
    assert await rig.enabled(card) == CARRIER_A
    for leasing in (Leasing(database.pool(DbRole.WORKER), uuid4()), rig.leasing):  # a second worker takes its share
        await failing.resumed(leasing.refresh)
    failing.all_did("device", "worker")


def _of_nobody(card: VirtualEuicc) -> bytes:
    """What a card says of which nobody has heard."""
    stranger = Eid(card.eid[:-1] + bytes([card.eid[-1] ^ 1]))
    error = messages.response_error(messages.INVALID_PACKAGE_FORMAT, b"\x07" * 16, Speaks.V1_2)
    return messages.provide(error, stranger, Speaks.V1_2, Naming.NAMED, Carrier.PROVIDE)


async def _visit(rig: Rig, failing: Failing, card: VirtualEuicc, cause: int | None = None) -> None:
    """Poll and bring results until there is nothing more, whatever fails."""
    while True:
        await failing.resumed(rig.work)
        poll = messages.poll(card.eid, card.switches.speaks, None, cause)
        answer = await failing.resumed(lambda poll=poll: rig.send(poll))  # type: ignore[misc]
        cause = None
        assert answer is not None
        if answer == NO_PACKAGE:
            return
        result = rig.wrap(card, rig.execute(card, inner(answer)))
        told = await failing.whole(lambda result=result: rig.send(result, card.eid))  # type: ignore[misc]
        assert told is not None
        for seq in messages.acknowledged(told):
            card.remove_notification(seq)


async def test_a_request_of_an_operator_is_refused_whole_whatever_write_of_it_fails(database: Database) -> None:
    """Reliability 8: 503 and nothing changed, as often as something fails; then it is done."""
    async with table_of(database) as table:
        failing, rows = await Failing.of(database), table.own.rows
        async with client_of(operator_app(table.services), table.own.all) as client:
            for method, path, content, headers in _MORE:
                request = client.build_request(
                    method, path.format(eid=rows.eid), content=content.replace("EID", rows.eid), headers=headers
                )
                answer = await failing.answered(lambda request=request: client.send(request))  # type: ignore[misc]
                assert answer.status_code < 300, (path, answer.text)
            for endpoint in table.endpoints():
                if endpoint.route.method != "GET":
                    sample = SAMPLES[endpoint.route.name]
                    answer = await failing.answered(
                        lambda sample=sample, endpoint=endpoint: sample.ask(client, endpoint, rows)  # type: ignore[misc]
                    )
                    assert answer.status_code < 500, (endpoint.route.name, answer.text)
    failing.all_did("operator")
