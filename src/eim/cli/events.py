"""`eim events`: what happened to all cards; with --follow, what happens."""

from datetime import UTC, datetime, timedelta

import click
import msgspec

from eim.api_events import EventQuery
from eim.cli.server import say, server_options, table, target_here
from eim.client import Client
from eim.domain.event import CloudEvent


@click.command()
@click.option("--follow", is_flag=True, help="Print what happens from now on (or --since), until ctrl-C.")
@click.option("--type", "types", multiple=True, help="Only of this type, as eim.operation.done or eim.operation.*.")
@click.option("--eid", help="Only of this eUICC.")
@click.option("--tag", help="Only of eUICCs with this tag.")
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="As 2027-01-31T12:00:00+00:00.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@server_options
def events(  # noqa: PLR0913 - the filters
    types: tuple[str, ...], eid: str | None, tag: str | None, since: datetime | None, limit: int, *, follow: bool
) -> None:
    """Print what happened, oldest first; without --since, in the last hour."""
    target = target_here()
    query = EventQuery(limit=limit, type=",".join(types) or None, eid=eid, tag=tag, since=since)

    async def print_all(client: Client) -> None:
        async for event in client.follow_events(query):
            click.echo(msgspec.json.encode(event).decode() if target.json else _line(event))

    if follow:
        target.run(print_all)
        return
    query = msgspec.structs.replace(query, since=since or datetime.now(UTC) - timedelta(hours=1))
    found = target.run(lambda client: _first(client, query))
    rows = ((e.time, e.type, _subject(e), _said(e)) for e in found)
    say(target, found, lambda: table(("At", "Type", "Of", "What"), rows))


async def _first(client: Client, query: EventQuery) -> tuple[CloudEvent, ...]:
    """The first `limit` that there are: a page of a part of all events may be short, or empty, before the last."""
    found: tuple[CloudEvent, ...] = ()
    while True:
        page = await client.read_events(query)
        found += page.items
        if page.next is None or len(found) >= query.limit:
            return found[: query.limit]
        query = msgspec.structs.replace(query, cursor=page.next, since=None)


def _line(event: CloudEvent) -> str:
    return f"{event.time.astimezone():%Y-%m-%d %H:%M:%S} {event.type} {_subject(event)} {_said(event)}".rstrip()


def _subject(event: CloudEvent) -> str:
    return event.subject.removeprefix("eid/")


def _said(event: CloudEvent) -> str:
    said = ", ".join(f"{name} {value}" for name, value in event.data.items() if value is not None)
    return f"{said}. {event.means}. {event.owner}: {event.nextstep}" if event.means else said
