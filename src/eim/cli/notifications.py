"""`eim notifications` and `eim smdps`: what cards signed for SM-DP+, how far it is, and which may be called."""

from typing import get_args
from uuid import UUID

import click
import msgspec

from eim import api_notifications
from eim.api_notifications import (
    GivingUp,
    NewSmdp,
    NotificationQuery,
    NotificationView,
    SmdpChange,
    SmdpQuery,
    SmdpView,
)
from eim.cli.server import say, server_options, table, target_here

_ID = click.argument("ident", type=click.UUID, metavar="ID")
_ADDRESS = click.argument("address")
_STATES = get_args(api_notifications.NotificationState)
_EVENTS = get_args(api_notifications.NotificationEvent)
_DESCRIPTION = click.option("--description", help="What people call it.")
_BINDING = click.option(
    "--binding", type=click.Choice(get_args(api_notifications.BindingName)), help="How it is spoken to: json, as most."
)
_ROOTS = click.option(
    "--roots", type=click.Choice(get_args(api_notifications.RootsName)),
    help="Whose certificate it shows: one under a GSMA CI (gsma), or one of the Web (web).",
)  # fmt: skip
_NETWORK = click.option(
    "--network", "networks", multiple=True, help="A network that it may lie in although it isn't public; several times."
)
_PROTOCOL = click.option("--protocol", help="The version of SGP.22 that it wants to hear, as 2.1.0.")


@click.group()
def notifications() -> None:
    """See what cards signed for SM-DP+, and how far it is (docs/notifications.md)."""


@notifications.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only those that stand so.")
@click.option("--eid", help="Only of this eUICC.")
@click.option("--iccid", help="Only about this profile.")
@click.option("--event", type=click.Choice(_EVENTS), help="Only those that tell this.")
@click.option("--address", help="Only for this SM-DP+.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
@server_options
def list_all(  # noqa: PLR0913 - what can be asked for
    state: str | None, eid: str | None, iccid: str | None, event: str | None, address: str | None, limit: int
) -> None:
    """List notifications, oldest first."""
    target = target_here()
    said = {"state": state, "eid": eid, "iccid": iccid, "event": event, "address": address, "limit": limit}
    query = msgspec.convert({name: value for name, value in said.items() if value is not None}, NotificationQuery)
    found = target.run(lambda client: client.notifications(query)).items
    columns = ("ID", "Came", "EID", "ICCID", "Event", "SM-DP+", "State", "Why")
    rows = ((n.id, n.received_at, n.eid, n.iccid, n.event, n.address, n.state, _why(n)) for n in found)
    say(target, found, lambda: table(columns, rows))


@notifications.command()
@_ID
@server_options
def show(ident: UUID) -> None:
    """Show one notification: how far it is, what it waits for, and what to do."""
    target = target_here()
    found = target.run(lambda client: client.notification(ident))
    rows = [(name, getattr(found, name)) for name in found.__struct_fields__]
    say(target, found, lambda: table(("", ""), rows))


@notifications.command()
@_ID
@server_options
def retry(ident: UUID) -> None:
    """Try one now, or look again at why it is held."""
    target = target_here()
    found = target.run(lambda client: client.retry_notification(ident))
    say(target, found, lambda: f"notification {found.id} is tried now")


@notifications.command("give-up")
@_ID
@click.option("--reason", required=True, help="Why it goes nowhere.")
@server_options
def give_up(ident: UUID, reason: str) -> None:
    """End one that is not to go; those behind it go on. It is audited."""
    target = target_here()
    found = target.run(lambda client: client.give_up_notification(ident, GivingUp(reason)))
    say(target, found, lambda: f"notification {found.id} is given up")


@click.group()
def smdps() -> None:
    """Say which SM-DP+ notifications may go to (docs/notifications.md)."""


@smdps.command()
@_ADDRESS
@_DESCRIPTION
@_BINDING
@_ROOTS
@_NETWORK
@_PROTOCOL
@server_options
def add(  # noqa: PLR0913 - what there is to say of one
    address: str,
    description: str | None,
    binding: str | None,
    roots: str | None,
    networks: tuple[str, ...],
    protocol: str | None,
) -> None:
    """Allow calls to the SM-DP+ ADDRESS, host or host:port. What is held for it goes at once."""
    target = target_here()
    said = {"description": description, "binding": binding, "roots": roots, "protocol": protocol}
    given = {name: value for name, value in said.items() if value is not None}
    new = msgspec.convert({"address": address, "networks": networks} | given, NewSmdp)
    made = target.run(lambda client: client.add_smdp(new))
    say(target, made, lambda: f"{made.address} may be called; {made.released} notifications waited for it")


@smdps.command("list")
@server_options
def list_smdps() -> None:
    """List the SM-DP+ that may be called, and how calls go."""
    target = target_here()
    found = target.run(lambda client: client.smdps(SmdpQuery(limit=1000))).items
    rows = ((s.address, s.description, s.binding, s.roots, s.networks, _state(s), s.delivered_at) for s in found)
    columns = ("Address", "Description", "Binding", "Roots", "Networks", "State", "Last delivery")
    say(target, found, lambda: table(columns, rows))


@smdps.command("show")
@_ADDRESS
@server_options
def show_smdp(address: str) -> None:
    """Show one SM-DP+."""
    target = target_here()
    found = target.run(lambda client: client.smdp(address))
    rows = [(name, getattr(found, name)) for name in found.__struct_fields__ if name != "released"]
    say(target, found, lambda: table(("", ""), rows))


@smdps.command()
@_ADDRESS
@_DESCRIPTION
@_BINDING
@_ROOTS
@_NETWORK
@_PROTOCOL
@click.option("--enable/--disable", "enabled", default=None, help="Call it again, or not; nothing is lost meanwhile.")
@server_options
def change(  # noqa: PLR0913 - what can be changed
    address: str,
    description: str | None,
    binding: str | None,
    roots: str | None,
    networks: tuple[str, ...],
    protocol: str | None,
    *,
    enabled: bool | None,
) -> None:
    """Change what is given; the rest stays."""
    target = target_here()
    said = {"description": description, "binding": binding, "roots": roots, "protocol": protocol, "enabled": enabled}
    given: dict[str, object] = {name: value for name, value in said.items() if value is not None}
    wanted = msgspec.convert(given | ({"networks": networks} if networks else {}), SmdpChange)
    found = target.run(lambda client: client.change_smdp(address, wanted))
    say(target, found, lambda: f"{found.address} is {_state(found)}")


@smdps.command()
@_ADDRESS
@server_options
def remove(address: str) -> None:
    """Call it no more; what is for it is held from now on."""
    target = target_here()
    gone = target.run(lambda client: client.remove_smdp(address))
    say(target, gone, lambda: f"{gone.address} is not called any more")


def _why(found: NotificationView) -> str | None:
    return found.reason or found.failure


def _state(found: SmdpView) -> str:
    if not found.enabled:
        return "off"
    return f"failing: {found.failure}" if found.failing_since else "on"
