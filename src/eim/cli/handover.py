"""`eim handover`: cards that come from another eIM, or go to one (docs/handover.md)."""

from pathlib import Path
from uuid import UUID

import click

from eim.api_handovers import (
    HandoverAbort,
    HandoverConfirmation,
    HandoverQuery,
    HandoverView,
    NewHandover,
)
from eim.cli.server import say, server_options, table, target_here

_eids = click.option("--eid", "eids", multiple=True, required=True, help="One card; may be repeated.")
_why = click.option("--reason", required=True, help="Why.")
_many = click.option("--confirm", type=int, help="How many cards are meant, when they are many.")
_ident = click.argument("handover", type=click.UUID, metavar="HANDOVER")


@click.group()
def handover() -> None:
    """Take cards over from another eIM, or give them to one."""


@handover.command("out")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_eids
@_why
@_many
@click.option("--after-contact", is_flag=True, help="Go only after `eim handover confirm`.")
@server_options
def give(file: Path, eids: tuple[str, ...], reason: str, confirm: int | None, *, after_contact: bool) -> None:
    """Give cards to the eIM whose configuration (`eim keys export` there) is in FILE: octets, or their hex."""
    target = target_here()
    new = NewHandover("out", eids, reason, _hex(file), None, after_contact, delete_other=False, confirm=confirm)
    done = target.run(lambda client: client.begin_handover(new))
    say(target, done, lambda: f"{done.cards} cards go: `eim handover show {done.id}`")


@handover.command("in")
@click.argument("eim_id", metavar="EIMID")
@_eids
@_why
@_many
@click.option("--delete-other", is_flag=True, help="Delete that eIM from the cards once they obey us.")
@server_options
def take(eim_id: str, eids: tuple[str, ...], reason: str, confirm: int | None, *, delete_other: bool) -> None:
    """Take cards over from the eIM EIMID, which has added us to them. Onboard them before."""
    target = target_here()
    new = NewHandover("in", eids, reason, None, eim_id, delete_other=delete_other, confirm=confirm)
    done = target.run(lambda client: client.begin_handover(new))
    say(target, done, lambda: f"{done.cards} cards come: `eim handover show {done.id}`")


@handover.command("list")
@server_options
def list_all() -> None:
    """List the last hand-overs."""
    target = target_here()
    found = target.run(lambda client: client.handovers()).items
    rows = ((h.id, h.direction, h.eim_id, h.size, _stages(h), h.created_at, h.aborted_at) for h in found)
    columns = ("Hand-over", "Direction", "Other eIM", "Cards", "Stages", "Begun", "Aborted")
    say(target, found, lambda: table(columns, rows))


@handover.command()
@_ident
@click.option("--stage", help="Only the cards of this stage.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@server_options
def show(handover: UUID, stage: str | None, limit: int) -> None:
    """Show how far it is, card by card."""
    target = target_here()
    query = HandoverQuery(stage, limit)  # type: ignore[arg-type]  # the server says which there are
    found = target.run(lambda client: client.handover(handover, query))
    rows = ((c.eid, c.stage, c.reason, c.operation, c.confirmed_at, c.changed_at) for c in found.cards)
    columns = ("EID", "Stage", "Why", "Operation", "Confirmed", "Since")
    say(target, found, lambda: table(columns, rows))


@handover.command()
@_ident
@click.option("--eid", "eids", multiple=True, help="Only this card; may be repeated.")
@server_options
def confirm(handover: UUID, eids: tuple[str, ...]) -> None:
    """Say that the cards have called the new eIM: ours goes now."""
    target = target_here()
    said = HandoverConfirmation(eids or None)
    found = target.run(lambda client: client.confirm_handover(handover, said))
    say(target, found, lambda: _stages(found))


@handover.command()
@_ident
@_why
@server_options
def abort(handover: UUID, reason: str) -> None:
    """Undo what can be undone: the new eIM is deleted again from cards that still obey us."""
    target = target_here()
    found = target.run(lambda client: client.abort_handover(handover, HandoverAbort(reason)))
    say(target, found, lambda: _stages(found))


def _stages(found: HandoverView) -> str:
    return ", ".join(f"{many} {stage}" for stage, many in sorted(found.stages.items()))


def _hex(file: Path) -> str:
    octets = file.read_bytes()
    text = octets.decode("ascii", "ignore").strip()
    return text if text and all(c in "0123456789abcdefABCDEF" for c in text) else octets.hex()
