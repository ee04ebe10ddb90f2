"""`eim devices timeline` and `eim devices trace`: what happened to one device, and the octets themselves."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from eim import api
from eim.api_seeing import TimelineEntry, TimelinePage, TraceMessage, TraceOrder, TracePage, TraceView
from eim.cli.decode import lines
from eim.cli.pcap import capture
from eim.cli.server import Target, say, server_options, target_here
from eim.client import Client
from eim.errors import InvalidRequest
from eim.protocol.explain import explain

_PAGE: Final = 1000
_NAMES: Final = 20  # columns of what happened
_BETWEEN: Final = " " * 2


@click.command()
@click.argument("eid")
@click.option("--limit", type=click.IntRange(1, _PAGE), default=50, show_default=True, help="So many of the last ones.")
@server_options
def timeline(eid: str, limit: int) -> None:
    """Print all that happened to one device, oldest first: orders with who and why, packages, results, notifications.

    What went wrong is followed by what it means and what to do next.
    """
    target = target_here()
    found = target.run(lambda client: client.timeline(eid, api.PageQuery(limit=limit)))
    say(target, found, lambda: "\n".join(_timeline(found)))


@click.command()
@click.argument("eid")
@click.option("--minutes", type=click.IntRange(1, 1440), default=30, show_default=True, help="Trace for so long.")
@click.option(
    "--exchanges", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Keep at most so many."
)
@click.option("--show", "deed", flag_value="show", help="Print what was kept, decoded.")
@click.option("--off", "deed", flag_value="off", help="Trace no more; what was kept stays until a day after.")
@click.option("--delete", "deed", flag_value="delete", help="Trace no more, and forget what was kept.")
@click.option(
    "--pcap", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write what was kept, for Wireshark."
)
@server_options
def trace(eid: str, minutes: int, exchanges: int, deed: str | None, file: Path | None) -> None:
    """Keep the octets that one device sends and gets, for a while. Activation codes in them are masked.

    Without --show, --off, --delete or --pcap the trace is switched on, for --minutes from now.
    """
    if deed is not None and file is not None:
        raise InvalidRequest("one thing at a time: --show, --off, --delete or --pcap")
    target = target_here()
    if file is not None:
        _write(target, eid, file)
    elif deed == "show":
        found = target.run(lambda client: _all(client, eid))
        say(target, found, lambda: "\n".join(_shown(found)))
    else:
        view = target.run(lambda client: _switch(client, eid, deed, TraceOrder(minutes, exchanges)))
        say(target, view, lambda: _switched(view, deed))


async def _switch(client: Client, eid: str, deed: str | None, order: TraceOrder) -> TraceView:
    match deed:
        case "delete":
            return await client.clear_trace(eid)
        case "off":
            return await client.trace(eid, TraceOrder(minutes=0))
        case _:
            return await client.trace(eid, order)


async def _all(client: Client, eid: str) -> TracePage:
    """Every message that is kept, in one page."""
    found: list[TraceMessage] = []
    query = api.PageQuery(limit=_PAGE)
    while True:
        page = await client.read_trace(eid, query)
        found += page.items
        if page.next is None:
            return TracePage(page.trace, tuple(found), None)
        query = api.PageQuery(limit=_PAGE, cursor=page.next)


def _write(target: Target, eid: str, file: Path) -> None:
    found = target.run(lambda client: _all(client, eid))
    try:
        file.write_bytes(capture(found.items))
    except OSError as failure:
        raise InvalidRequest(f"{file} can't be written: {failure.strerror}") from None
    say(
        target,
        found.trace,
        lambda: f"{len(found.items)} messages in {file}: open it with Wireshark, or tshark -r {file}",
    )


def _switched(view: TraceView, deed: str | None) -> str:
    if view.until is None:
        return "not traced any more" + (", and what was kept is forgotten" if deed == "delete" else "")
    return f"traced until {_moment(view.until)}, at most {view.left} exchanges: see them with --show or --pcap FILE"


def _shown(page: TracePage) -> list[str]:
    if not page.items:
        return ["nothing was kept: switch the trace on and wait for the device to call"]
    return [line for message in page.items for line in _message(message)]


def _message(message: TraceMessage) -> list[str]:
    octets = bytes.fromhex(message.octets)
    cut = f", the first {len(octets)} of them" if len(octets) < message.size else ""
    arrow = f"from {message.peer}" if message.direction == "in" else "answered"
    head = f"{_moment(message.at, 'milliseconds')} {arrow}: {message.size} octets{cut}"
    return [head, *(_BETWEEN + line for line in lines(explain(octets))), ""]


def _timeline(page: TimelinePage) -> list[str]:
    visits, found = page.visits, [line for entry in reversed(page.items) for line in _entry(entry)]
    if page.next is not None:
        found.insert(0, "(older ones: raise --limit)")
    last = _moment(visits.last_seen_at) if visits.last_seen_at else "never"
    out = f"; a package is out since {_moment(visits.out_since)}, " if visits.out_since else ""
    given = f"given {visits.deliveries} times" if visits.out_since else ""
    return [*(found or ["nothing happened yet"]), f"last call: {last}{out}{given}"]


def _entry(entry: TimelineEntry) -> list[str]:
    found = [f"{_moment(entry.at)}{_BETWEEN}{entry.what:<{_NAMES}}{_BETWEEN}{_said(entry.data)}".rstrip()]
    margin = " " * len(_moment(entry.at)) + _BETWEEN
    if entry.meaning:
        found.append(f"{margin}= {entry.meaning}")
    if entry.next_step:
        found.append(f"{margin}> {entry.next_step}")
    return found


def _said(data: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in data.items() if value is not None and value is not False)


def _moment(at: datetime, precision: str = "seconds") -> str:
    return at.astimezone().replace(tzinfo=None).isoformat(" ", precision)
