"""`eim webhooks`: who is told of events, where; and what could not be delivered."""

from datetime import datetime
from uuid import UUID

import click
from msgspec import UNSET

from eim.api_events import (
    NewWebhook,
    Replay,
    SecretRotation,
    WebhookChange,
    WebhookMade,
    WebhookPageQuery,
    WebhookView,
)
from eim.cli.server import say, server_options, table, target_here

_ID = click.argument("ident", type=click.UUID, metavar="ID")
_TYPE = click.option("--type", "types", multiple=True, help="Only of this type, as eim.operation.*; several times.")
_TAG = click.option("--tag", "tags", multiple=True, help="Only of eUICCs with one of these tags.")
_DESCRIPTION = click.option("--description", help="What people call it.")


@click.group()
def webhooks() -> None:
    """Tell receivers of events, signed (docs/events.md)."""


@webhooks.command()
@click.argument("url")
@_DESCRIPTION
@_TYPE
@_TAG
@server_options
def create(url: str, description: str | None, types: tuple[str, ...], tags: tuple[str, ...]) -> None:
    """Make a webhook. Its secret is printed once."""
    target = target_here()
    made = target.run(lambda client: client.create_webhook(NewWebhook(url, description, types, tags)))
    say(target, made, lambda: _made(made))


@webhooks.command("list")
@server_options
def list_all() -> None:
    """List the webhooks and how their deliveries go."""
    target = target_here()
    found = target.run(lambda client: client.webhooks(WebhookPageQuery(limit=1000))).items
    rows = ((w.id, w.url, w.types, w.tags, _state(w), w.delivered_at) for w in found)
    say(target, found, lambda: table(("ID", "URL", "Types", "Tags", "State", "Last delivery"), rows))


@webhooks.command()
@_ID
@server_options
def show(ident: UUID) -> None:
    """Show one webhook."""
    target = target_here()
    found = target.run(lambda client: client.webhook(ident))
    rows = [(name, getattr(found, name)) for name in found.__struct_fields__]
    say(target, found, lambda: table(("", ""), rows))


@webhooks.command()
@_ID
@click.option("--url", help="Deliver there from now on.")
@_DESCRIPTION
@_TYPE
@_TAG
@click.option("--enable/--disable", "enabled", default=None, help="Switch it on or off; nothing is lost meanwhile.")
@server_options
def change(  # noqa: PLR0913 - what can be changed
    ident: UUID,
    url: str | None,
    description: str | None,
    types: tuple[str, ...],
    tags: tuple[str, ...],
    *,
    enabled: bool | None,
) -> None:
    """Change what is given; the rest stays."""
    target = target_here()
    wanted = WebhookChange(
        url=UNSET if url is None else url,
        description=UNSET if description is None else description,
        types=types or UNSET,
        tags=tags or UNSET,
        enabled=UNSET if enabled is None else enabled,
    )
    found = target.run(lambda client: client.change_webhook(ident, wanted))
    say(target, found, lambda: f"webhook {found.id} is {_state(found)}")


@webhooks.command()
@_ID
@server_options
def delete(ident: UUID) -> None:
    """Remove a webhook with its dead letters."""
    target = target_here()
    gone = target.run(lambda client: client.delete_webhook(ident))
    say(target, gone, lambda: f"webhook {gone.id} is removed")


@webhooks.command()
@_ID
@click.option(
    "--overlap", type=click.IntRange(0, 30 * 86_400), default=86_400, show_default=True,
    help="Seconds for which the secret before signs along.",
)  # fmt: skip
@server_options
def rotate(ident: UUID, overlap: int) -> None:
    """Give it a new secret. It is printed once."""
    target = target_here()
    made = target.run(lambda client: client.rotate_webhook(ident, SecretRotation(overlap)))
    say(target, made, lambda: _made(made))


@webhooks.command()
@_ID
@server_options
def test(ident: UUID) -> None:
    """Send it a test event; `eim webhooks show` then says how that went."""
    target = target_here()
    asked = target.run(lambda client: client.test_webhook(ident))
    say(target, asked, lambda: f"test event {asked.event} is on its way")


@webhooks.command()
@_ID
@server_options
def dead(ident: UUID) -> None:
    """List its dead letters: events that were given up after the last try."""
    target = target_here()
    found = target.run(lambda client: client.dead_letters(ident, WebhookPageQuery(limit=1000))).items
    rows = ((d.event, d.type, d.eid, d.time, d.attempts, d.failure, d.died_at) for d in found)
    columns = ("Event", "Type", "EID", "At", "Tries", "Failure", "Given up")
    say(target, found, lambda: table(columns, rows))


@webhooks.command()
@_ID
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="All since, as 2027-01-31T12:00:00+00:00.")
@click.option("--dead-letters", is_flag=True, help="Each dead letter once more.")
@server_options
def replay(ident: UUID, since: datetime | None, *, dead_letters: bool) -> None:
    """Deliver again: all since a time, or the dead letters."""
    target = target_here()
    done = target.run(lambda client: client.replay_webhook(ident, Replay(since, dead_letters)))
    told = "all since then" if done.dead_letters is None else f"{done.dead_letters} dead letters"
    say(target, done, lambda: f"{told} will be delivered again")


def _made(made: WebhookMade) -> str:
    return f"webhook {made.webhook.id}\nsecret  {made.secret or 'was shown before'}"


def _state(webhook: WebhookView) -> str:
    if not webhook.enabled:
        return f"off: {webhook.disabled_why or 'by an operator'}"
    return f"failing: {webhook.failure}" if webhook.failing_since else "on"
