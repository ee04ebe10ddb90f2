"""Results taken in together have the effects that each has by itself, and none is acknowledged that is not kept."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from eim.asn1 import sgp32
from eim.asn1.sgp32 import EimConfigurationData
from eim.domain.ids import bucket_of, format_eid
from eim.domain.step import (
    AddEim,
    ConfigureImmediateEnable,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    GetRat,
    ListEim,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    Step,
    UnsetFallbackAttribute,
    UpdateEim,
    kind_of,
)
from eim.errors import EimError, Unavailable
from eim.protocol.esipa import Provided, receive
from eim.services.collecting import Collecting
from eim.services.ordering import Ordering, Target, Template
from eim.services.tokens import SETUP
from eim.sim import messages
from eim.sim.behaviour import Carrier, Naming
from eim.sim.euicc import VirtualEuicc
from eim.sim.fleet import CARRIER_A, CARRIER_B
from eim.sim.messages import acknowledged
from eim.sim.provocations import CODES
from eim.store.connect import DbRole
from tests.cluster import Cluster
from tests.database import Database, fresh
from tests.domain.steps import CONFIG
from tests.services import rig as rigs
from tests.services.rig import EIM_ID, Rig
from tests.told import broken_promises

_TABLES: Final = """
    SELECT c.relname FROM pg_class c
     WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
"""
_DRAWN: Final = {"turn", "id"}  # two runs never draw the same
_OWN_ID: Final = {"events", "audit", "results", "requests", "notifications", "traces"}
_CUT_OFF: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'eim device' AND wait_event_type = 'Lock'
"""
_SPREAD: Final = re.compile(r"'again_in_s': \d+|'notification': '[0-9a-f-]{36}'")


def profile(card: VirtualEuicc, carrier: str) -> Any:
    return next(p.iccid for p in card.state.profiles if p.provider == carrier)


def steps_of(what: str, card: VirtualEuicc) -> tuple[Step, ...]:
    a, b = profile(card, CARRIER_A), profile(card, CARRIER_B)
    one: Mapping[str, Step] = {
        "enable": Enable(b),
        "disable": Disable(a),
        "delete": Delete(b),
        "listProfileInfo": ListProfileInfo(),
        "getRAT": GetRat(),
        "configureImmediateEnable": ConfigureImmediateEnable(True),
        "setFallbackAttribute": SetFallbackAttribute(b),
        "unsetFallbackAttribute": UnsetFallbackAttribute(),
        "setDefaultDpAddress": SetDefaultDpAddress("smdp.example.com"),
        "addEim": AddEim(sgp32.encode(CONFIG)),
        "deleteEim": DeleteEim(EIM_ID),
        "updateEim": UpdateEim(sgp32.encode(EimConfigurationData(EIM_ID, fqdn="moved.example.com"))),
        "listEim": ListEim(),
    }
    several: Mapping[str, tuple[Step, ...]] = {
        "two changes": (Enable(b), Delete(a)),
        "a change that fails behind one": (Enable(b), Delete(b) if what == "never" else SetFallbackAttribute(a)),
        "a change and its listing": (Enable(b), ListProfileInfo()),
        "one profile": (ListProfileInfo(iccid=b),),
        "some tags": (ListProfileInfo(tags=bytes.fromhex("5A9F70")),),
        "with rollback": (Enable(b, rollback=True),),
        "settings": (SetDefaultDpAddress("a.example.com"), ConfigureImmediateEnable()),
    }
    return several[what] if what in several else (one[what],)


KINDS: Final = ("enable", "disable", "delete", "listProfileInfo", "getRAT", "configureImmediateEnable",
                "setFallbackAttribute", "unsetFallbackAttribute", "setDefaultDpAddress", "addEim", "deleteEim",
                "updateEim", "listEim")  # fmt: skip
SEVERAL: Final = ("two changes", "a change that fails behind one", "a change and its listing", "one profile",
                  "some tags", "with rollback", "settings")  # fmt: skip
OF_CARDS: Final = (
    *((kind, "", "") for kind in (*KINDS, *SEVERAL)),
    *((kind, kind, code) for kind in KINDS if kind in CODES for code in CODES[kind]),
    *(("enable", what, code) for what in ("package", "processingTerminated", "unsigned") for code in CODES[what]),
    ("listProfileInfo", "package", "undefinedError"),
    ("two changes", "delete", "disallowedByPolicy"),
)


class Scene(msgspec.Struct, frozen=True):
    """A moment at which many results are on their way, and the messages that bring them, in their order."""

    rig: Rig
    messages: Sequence[bytes]
    plain: int  # of them at least


async def ask(rig: Rig, card: VirtualEuicc, *steps: Step, **more: Any) -> Any:
    templates = tuple(map(Template, steps))
    asked = Ordering(kind_of(steps), (Target(format_eid(card.eid)),), steps=templates, force_reason="a test", **more)
    return (await rig.operations.place(SETUP, asked, None)).placed[0].operation


async def brought(rig: Rig, card: VirtualEuicc) -> bytes:
    """The message with the result of the package that waits for the card."""
    package = await rig.poll(card)
    assert package is not None
    return rig.wrap(card, rig.execute(card, package))


async def of_each_code(database: Database) -> Scene:
    """Each kind, each way it can end, a card each."""
    rig = await introduced(database, len(OF_CARDS))
    made = []
    for card, (what, refuses, code) in zip(rig.cards, OF_CARDS, strict=True):
        if refuses:
            card.provocations.refuse(refuses, code)
        await ask(rig, card, *steps_of(what, card))
        made.append(await brought(rig, card))
    return Scene(rig, made, 50)


async def with_more_to_do(database: Database) -> Scene:
    """More is sealed behind it, or comes after it; or the same comes again, or a second result at once."""
    rig = await introduced(database, 5)
    crowded, leading, failing, repeating, hasty = rig.cards
    for _ in range(5):
        await ask(rig, crowded, ListProfileInfo())
    made = [await brought(rig, crowded)]
    failing.provocations.refuse("enable", "disallowedByPolicy")
    for card in (leading, failing):
        first = await ask(rig, card, *steps_of("enable", card))
        second = await ask(rig, card, GetRat(), after=first)
        await ask(rig, card, ListEim(), after=second)
        made.append(await brought(rig, card))
    await ask(rig, repeating, *steps_of("enable", repeating))
    made += [await brought(rig, repeating)] * 3
    await ask(rig, hasty, *steps_of("enable", hasty))
    await ask(rig, hasty, *steps_of("getRAT", hasty))
    made.append(await brought(rig, hasty))
    waiting = next(p for p in await rig.rows("packages", hasty) if p["state"] == "waiting")
    assert isinstance(waiting["sealed"], bytes)
    made.append(rig.wrap(hasty, rig.execute(hasty, waiting["sealed"])))  # of a package that is not out
    return Scene(rig, made, 5)


async def with_something_strange(database: Database) -> Scene:
    """What looks plain, and is not: by its signature, EID or operation, what it lists, or what else is in doubt."""
    rig = await introduced(database, 7)
    forged, lending, borrowing, withdrawn, doubtful, poorer, ordinary = rig.cards
    await ask(rig, forged, *steps_of("enable", forged))
    message = await brought(rig, forged)
    made = [message[:-1] + bytes([message[-1] ^ 1])]
    await ask(rig, borrowing, *steps_of("enable", borrowing))
    made.append(rig.wrap(lending, rig.execute(borrowing, await polled(rig, borrowing))))  # under another card's EID
    operation = await ask(rig, withdrawn, *steps_of("enable", withdrawn))
    made.append(await brought(rig, withdrawn))
    await rig.operations.withdraw(SETUP, operation)
    operation = await ask(rig, doubtful, *steps_of("enable", doubtful))
    await rig.poll(doubtful)
    await rig.operations.withdraw(SETUP, operation)
    await rig.provide(doubtful, rig.execute(doubtful, await polled(rig, doubtful)))
    made.append(await brought(rig, doubtful))  # the listing that shows whether it was executed
    await ask(rig, poorer, ListProfileInfo())
    package = await polled(rig, poorer)
    poorer.state = msgspec.structs.replace(poorer.state, profiles=poorer.state.profiles[:1])
    made.append(rig.wrap(poorer, rig.execute(poorer, package)))
    await ask(rig, ordinary, *steps_of("enable", ordinary))
    made.append(await brought(rig, ordinary))
    return Scene(rig, made, 1)


async def with_notifications(database: Database) -> Scene:
    """What the card has for SM-DP+ is listed beside its result; some of it can't be read, or comes again."""
    rig = await introduced(database, 5)
    made = []
    for number, card in enumerate(rig.cards):
        await ask(rig, card, *steps_of("enable", card))
        result = rig.execute(card, await polled(rig, card))
        listed = [held.raw for held in card.notifications]
        assert listed
        listed = [listed, listed[:1] * 2, [*listed, listed[0][:-1] + b"?"], [b"\xbf\x37\x00"], listed * 9][number]
        body = messages.result_with(result, listed, card.switches.speaks)
        made.append(messages.provide(body, card.eid, card.switches.speaks, Naming.NAMED, Carrier.PROVIDE))
    return Scene(rig, made, 4)


STRANGE: Final = (
    "traced_until = now() + interval '1 hour', trace_left = 9",
    "highest_seq = 1000",
    "quarantined_at = now()",
    "reported_cause = 1",
    "token_on_trial = true, former_token = 5",
    "speaks = '1.0.1'",
    "signature_form = NULL, token_proven = false",
    "unverifiable = true",
    "ecall_since = now()",
    "reset_at = now()",
    "resyncs = 2",
)


async def of_strange_cards(database: Database) -> Scene:
    """Sound results of cards of which something else is to be found out."""
    rig = await introduced(database, len(STRANGE))
    made = []
    for card, change in zip(rig.cards, STRANGE, strict=True):
        await ask(rig, card, *steps_of("enable", card))
        made.append(await brought(rig, card))
        await rig.database.owner().execute(f"UPDATE euiccs SET {change} WHERE eid = $1", card.eid)
    return Scene(rig, made, 1)


async def polled(rig: Rig, card: VirtualEuicc) -> bytes:
    package = await rig.poll(card)
    assert package is not None
    return package


async def introduced(database: Database, many: int) -> Rig:
    """Cards of which the first signature was proven and the profiles are known."""
    rig = await rigs.start(database, many)
    await rig.onboard()
    for card in rig.cards:
        await rig.visit(card)
    return rig


async def one_by_one(scene: Scene, rig: Rig) -> list[bytes | None]:
    return [await rig.send(message) for message in scene.messages]


async def collected(rig: Rig, messages: Sequence[bytes]) -> list[bytes | EimError | None]:
    """What one process says to all of them at once; None to those that it takes in by themselves."""
    collecting = Collecting(rig.database.pool(DbRole.DEVICE), rig.results, 1)
    found: list[asyncio.Future[bytes | EimError | None]] = []
    for message in messages:
        provided = receive(message)
        assert isinstance(provided, Provided)
        answer = asyncio.get_running_loop().create_future()
        collecting.bring(provided, answer.set_result)
        found.append(answer)
    running = asyncio.create_task(collecting.run())
    answers = await asyncio.wait_for(asyncio.gather(*found), 60)
    running.cancel()
    return answers


async def together(scene: Scene, rig: Rig) -> list[bytes | None]:
    """All at once; those that have to be taken in by themselves follow, in their order."""
    answers = await collected(rig, scene.messages)
    assert sum(answer is not None for answer in answers) >= scene.plain
    return [await rig.send(m) if answer is None else answer for m, answer in zip(scene.messages, answers, strict=True)]  # type: ignore[misc]


@pytest.mark.parametrize(
    "set_up", [of_each_code, with_notifications, with_more_to_do, with_something_strange, of_strange_cards]
)
async def test_results_taken_in_together_leave_the_same_rows_as_one_by_one(set_up: Any, postgres: Cluster) -> None:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh(postgres))
        scene = await set_up(database)
        database.close()  # one that is in use can't be copied
        copies = [await stack.enter_async_context(fresh(postgres, template=database.name)) for _ in range(2)]
        alone, at_once = (Rig(copy, scene.rig.fleet, scene.rig.keys) for copy in copies)
        assert await together(scene, at_once) == await one_by_one(scene, alone)
        assert [await broken_promises(copy) for copy in copies] == [[], []]
        ours, theirs = [await rows_of(copy) for copy in copies]
    assert ours.keys() == theirs.keys()
    for table in ours:
        assert ours[table] == theirs[table], table


async def rows_of(database: Database) -> dict[str, list[str]]:
    """Every row of every table in words, without what is drawn or is a time; each card's events in their order."""
    found = {}
    for (table,) in await database.owner().fetch(_TABLES, database.schema):
        order = " ORDER BY bucket, eid, turn" if table == "events" else ""
        rows = [dict(row) for row in await database.owner().fetch(f"SELECT * FROM {table}{order}")]
        said = [_SPREAD.sub("", repr([_plain(table, *column) for column in row.items()])) for row in rows]
        found[table] = said if table == "events" else sorted(said)
    return found


def _plain(table: str, name: str, value: object) -> object:
    if name in _DRAWN and (name == "turn" or table in _OWN_ID):
        return None
    return name, "a time" if isinstance(value, datetime) else value


async def test_the_same_results_at_two_processes_at_once_count_once_and_are_acknowledged_by_both(
    database: Database,
) -> None:
    rig = await introduced(database, 12)
    operations = [await ask(rig, card, *steps_of("enable", card)) for card in rig.cards]
    messages = [await brought(rig, card) for card in rig.cards]
    both = await asyncio.gather(*(collected(rig, messages) for _ in range(2)))
    assert sum(answer is not None for answers in both for answer in answers) >= len(messages)
    for card, message, answers in zip(rig.cards, messages, zip(*both, strict=True), strict=True):
        for answer in answers:
            said = await rig.send(message) if answer is None else answer
            assert isinstance(said, bytes)
            assert acknowledged(said) == tuple(held.seq for held in card.results)
    for card, operation in zip(rig.cards, operations, strict=True):
        assert (await rig.operation(operation))["state"] == "done"
        assert len([r for r in await rig.rows("results", card) if r["operation"] == operation]) == 1
        told = [e for e in await rig.rows("events", card) if e["data"].get("operation") == str(operation)]  # type: ignore[attr-defined]
        assert [e["kind"] for e in told if e["kind"] == "operation.done"] == ["operation.done"]


async def test_who_brings_a_result_while_the_database_is_away_is_told_so_and_the_next_one_is_taken_in(
    database: Database,
) -> None:
    rig = await introduced(database, 2)
    for card in rig.cards:
        await ask(rig, card, *steps_of("enable", card))
    first, second = [await brought(rig, card) for card in rig.cards]
    superuser = await asyncpg.connect(database.superuser_dsn)
    async with superuser.transaction():
        await superuser.execute(f"LOCK TABLE {database.schema}.euiccs")  # whoever waits for it is cut off
        asked = asyncio.create_task(collected(rig, [first]))
        while not await superuser.fetchval(_CUT_OFF):  # noqa: ASYNC110 - another process waits
            await asyncio.sleep(0.01)
        (answer,) = await asked
    await superuser.close()
    assert isinstance(answer, Unavailable)
    assert all(isinstance(answer, bytes) for answer in await collected(rig, [first, second]))


async def test_who_comes_while_one_waits_for_a_lock_is_answered_before_it(database: Database) -> None:
    rig = await introduced(database, 3)
    for card in rig.cards:
        await ask(rig, card, *steps_of("enable", card))
    stuck, *others = [await brought(rig, card) for card in rig.cards]
    collecting = Collecting(database.pool(DbRole.DEVICE), rig.results, 2)

    def bring(message: bytes) -> asyncio.Future[bytes | EimError | None]:
        answer = asyncio.get_running_loop().create_future()
        provided = receive(message)
        assert isinstance(provided, Provided)
        collecting.bring(provided, answer.set_result)
        return answer

    running = asyncio.create_task(collecting.run())
    async with database.owner().acquire() as holder:
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM euiccs WHERE eid = $1 FOR UPDATE", rig.cards[0].eid)
            first = bring(stuck)
            await asyncio.sleep(0.01)
            answers = [bring(others[0])]  # before the first one is found to be slow
            await asyncio.sleep(0.2)
            answers.append(bring(others[1]))  # .. and after
            assert all(isinstance(answer, bytes) for answer in await asyncio.wait_for(asyncio.gather(*answers), 5))
            assert not first.done()
        assert isinstance(await asyncio.wait_for(first, 5), bytes)
    running.cancel()


async def test_a_head_that_is_another_one_by_now_is_not_resolved(database: Database) -> None:
    rig = await introduced(database, 2)
    for card in rig.cards:
        await ask(rig, card, *steps_of("enable", card))
        await rig.poll(card)
    cards = [(bucket_of(card.eid), card.eid) for card in rig.cards]
    heads = [(await rig.rows("mailbox", card))[0]["number"] for card in rig.cards]
    before = await rows_of(database)
    for numbers in ([heads[0], heads[1] + 1], [heads[0] - 1, heads[1]]):  # type: ignore[operator]
        with pytest.raises(asyncpg.SerializationError):
            await database.pool(DbRole.DEVICE).execute(
                "SELECT resolve_heads($1, $2, $3)", [b for b, _ in cards], [eid for _, eid in cards], numbers
            )
    assert await rows_of(database) == before
