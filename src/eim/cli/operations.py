"""`eim operations`: list them, look at one, take one back, let one go on."""

from typing import Any, get_args
from uuid import UUID

import click

from eim import api
from eim.cli.server import MOMENT, say, server_options, table, target_here


@click.group()
def operations() -> None:
    """List operations, look at one, take one back, let one go on."""


@operations.command("list")
@click.option("--state", type=click.Choice(get_args(api.StateName)), help="Only those in this state.")
@click.option("--kind", type=click.Choice(get_args(api.KindName)), help="Only those of this kind.")
@click.option("--eid", help="Only those of this eUICC.")
@click.option("--order", type=click.UUID, help="Only those of this order.")
@click.option("--iccid", help="Only those about this profile.")
@click.option("--ordered-by", help="Only those that this one ordered, as token:NAME.")
@click.option("--reason", help="Only those that ended for this reason, as rolledBack.")
@click.option("--created-after", type=MOMENT, help="Only those ordered since, as 2027-01-31T12:00:00+00:00.")
@click.option("--created-before", type=MOMENT, help="Only those ordered before.")
@click.option("--open/--ended", default=None, help="Only those that have not (have) ended.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@server_options
def list_some(**filters: Any) -> None:
    """List operations, newest first."""
    target = target_here()
    query = api.OperationQuery(**filters)
    found = target.run(lambda client: client.operations(query)).items
    columns = ("Operation", "EID", "Kind", "ICCID", "State", "Why", "Ordered by", "At")
    rows = ((o.id, o.eid, o.operation, o.iccid, o.state, _why(o), o.ordered_by, o.created_at) for o in found)
    say(target, found, lambda: table(columns, rows))


@operations.command()
@click.argument("operation", type=click.UUID, metavar="ID")
@server_options
def show(operation: UUID) -> None:
    """Show one operation."""
    target = target_here()
    found = target.run(lambda client: client.operation(operation))
    say(target, found, lambda: table(("", ""), _rows(found)))


@operations.command()
@click.argument("operation", type=click.UUID, metavar="ID")
@server_options
def withdraw(operation: UUID) -> None:
    """Take an operation back; what may be with the card already is cleared up first."""
    target = target_here()
    found = target.run(lambda client: client.withdraw(operation))
    told = "withdrawn" if found.state == "withdrawn" else f"{found.state}: the card may have it, so it is asked first"
    say(target, found, lambda: f"operation {found.id} is {told}")


@operations.command()
@click.argument("operation", type=click.UUID, metavar="ID")
@server_options
def resume(operation: UUID) -> None:
    """Let a parked operation go on, once what it could not be prepared for is mended."""
    target = target_here()
    found = target.run(lambda client: client.resume(operation))
    say(target, found, lambda: f"operation {found.id} goes on: it is {found.state}")


def _rows(found: api.OperationView) -> list[tuple[object, object]]:
    """What it is; then each step, how it ended, what that means and who has to act."""
    plain = (name for name in found.__struct_fields__ if name not in ("steps", "outcome", "meanings"))
    rows: list[tuple[object, object]] = [(name, getattr(found, name)) for name in plain]
    outcome = dict(found.outcome or {})
    ended = outcome.pop("steps", None)
    rows += [(f"outcome: {name}", value) for name, value in outcome.items()]
    results = ended if isinstance(ended, list) else []
    for place, step in enumerate(found.steps):
        words = ", ".join(f"{name} {value}" for name, value in step.items() if name not in ("step", "configuration"))
        rows.append((f"step {place + 1}", f"{step.get('step')} {words}".strip()))
        if place < len(results):
            rows.append((f"step {place + 1} ended", results[place].get("reason")))
    for reason, meaning in found.meanings.items():
        rows.append((reason, f"{meaning.means}. {meaning.owner}: {meaning.next_step}"))
    return rows


def _why(operation: api.OperationView) -> object:
    """Why it ended as it did, or is in doubt."""
    return (operation.outcome or {}).get("reason") or operation.doubt
