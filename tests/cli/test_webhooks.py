"""`eim webhooks` and `eim events` against a real server."""

import json

import pytest

from eim.domain.ids import bucket_of
from tests.cli.conftest import Eim
from tests.database import Database
from tests.operator_side import eid_of, eid_text

URL = "https://hooks.example.com/eim"


async def test_a_webhook_by_command_from_its_making_to_its_end(eim: Eim) -> None:
    created = await eim(
        "webhooks", "create", URL, "--type", "eim.operation.*", "--tag", "north", "--description", "ours"
    )
    assert created.exit_code == 0, created.output
    ident, secret = (line.split()[1] for line in created.output.splitlines())
    assert secret.startswith("whsec_")
    listed = await eim("webhooks", "list")
    assert URL in listed.output
    assert secret not in listed.output
    assert "is on" in (await eim("webhooks", "change", ident, "--tag", "south")).output
    shown = json.loads((await eim("webhooks", "show", ident, "--json")).output)
    assert (shown["tags"], shown["types"], shown["description"]) == (["south"], ["eim.operation.*"], "ours")
    assert "is on its way" in (await eim("webhooks", "test", ident)).output
    rotated = json.loads((await eim("webhooks", "rotate", ident, "--overlap", "60", "--json")).output)
    assert rotated["secret"] != secret
    assert "0 dead letters" in (await eim("webhooks", "replay", ident, "--dead-letters")).output
    since = await eim("webhooks", "replay", ident, "--since", "2026-11-22T00:00:00+00:00")
    assert "all since then" in since.output
    assert (await eim("webhooks", "replay", ident)).exit_code == 1
    assert "off: by an operator" in (await eim("webhooks", "change", ident, "--disable")).output
    assert (await eim("webhooks", "dead", ident, "--json")).output.strip() == "[]"
    assert "is removed" in (await eim("webhooks", "delete", ident)).output
    assert (await eim("webhooks", "show", ident)).exit_code == 1


async def test_a_url_that_is_refused_says_what_to_write(eim: Eim) -> None:
    refused = await eim("webhooks", "create", "http://hooks.example.com")
    assert (refused.exit_code, "https://" in refused.output) == (1, True)


async def test_events_are_printed_and_filtered(eim: Eim) -> None:
    await eim("devices", "add", eid_text(1), eid_text(2), "--tag", "north")
    found = json.loads((await eim("events", "--type", "eim.euicc.*", "--eid", eid_text(1), "--json")).output)
    assert [(each["type"], each["subject"]) for each in found] == [("eim.euicc.onboarded", f"eid/{eid_text(1)}")]
    shown = await eim("events", "--tag", "north")
    assert eid_text(2) in shown.output
    wrong = await eim("events", "--type", "eim.nothing")
    assert (wrong.exit_code, "docs/events.md" in wrong.output) == (1, True)


@pytest.mark.made_up_events
async def test_an_event_of_what_went_wrong_says_what_it_means_and_who_has_to_act(eim: Eim, database: Database) -> None:
    await eim("devices", "add", eid_text(1))
    await database.owner().execute(
        "INSERT INTO events (bucket, id, eid, tenant, kind, data) "
        "VALUES ($1, gen_random_uuid(), $2, 1, 'operation.failed', '{\"reason\": \"disallowedByPolicy\"}')",
        bucket_of(eid_of(1)),
        eid_of(1),
    )
    (told,) = json.loads((await eim("events", "--type", "eim.operation.failed", "--json")).output)
    assert told["owner"] == "profile owner"
    assert told["nextstep"] == "ask the profile's owner to lift the rule; no eIM can"
    shown = " ".join((await eim("events", "--type", "eim.operation.failed")).output.split())
    assert "profile owner: ask the profile's owner" in shown
