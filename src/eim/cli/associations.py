"""`eim associations`: the keys that cards obey, moving them to newer ones, and cards that stall."""

import click

from eim.api_associations import KeyChoice, KeyList, KeyMove, KeyMoving, Resumption
from eim.cli.server import Target, say, server_options, table, target_here
from eim.client import Client

_identity = click.argument("identity", type=int, metavar="IDENTITY")
_why = click.option("--reason", required=True, help="Why.")


@click.group()
def associations() -> None:
    """See which keys cards obey, and move them to newer ones (docs/keys-and-trust.md)."""


@associations.command()
@_identity
@server_options
def keys(identity: int) -> None:
    """List the keys of an identity, and how many eUICCs obey each."""
    target = target_here()
    _say(target, target.run(lambda client: client.identity_keys(identity)))


@associations.command()
@_identity
@_why
@click.option("--tag", help="Only eUICCs with this tag.")
@click.option("--eid", "eids", multiple=True, help="Only this one; may be repeated.")
@click.option("--new-count", is_flag=True, help="Let their counter begin anew.")
@click.option("--confirm", type=int, help="How many eUICCs are meant, when they are many.")
@server_options
def move(  # noqa: PLR0913 - one parameter an option
    identity: int, reason: str, tag: str | None, eids: tuple[str, ...], confirm: int | None, *, new_count: bool
) -> None:
    """Move the eUICCs that obey an older key to the newest one. Again goes on where it ended."""
    target = target_here()
    wanted = KeyMove(reason, tag, eids or None, new_count, confirm)
    done = target.run(lambda client: _all(client, identity, wanted))
    say(target, done, lambda: f"{done.ordered} eUICCs move to key {done.key}: `eim associations keys {identity}`")


@associations.command()
@_identity
@click.argument("eids", nargs=-1, required=True, metavar="EID...")
@_why
@server_options
def renew(identity: int, eids: tuple[str, ...], reason: str) -> None:
    """Renew the association of these eUICCs: the newest key, and a counter that begins anew."""
    target = target_here()
    wanted = KeyMove(reason, None, eids, new_count=True, confirm=None)
    done = target.run(lambda client: client.move_to_newest_key(identity, wanted))
    say(target, done, lambda: f"{done.ordered} associations are renewed with key {done.key}")


@associations.command()
@_identity
@click.argument("number", type=int)
@_why
@server_options
def load(identity: int, number: int, reason: str) -> None:
    """Say that new eUICCs come from their factory with key NUMBER from now on."""
    target = target_here()
    _say(target, target.run(lambda client: client.load_key(identity, KeyChoice(number, reason))))


@associations.command("retire-keys")
@_identity
@click.argument("number", type=int)
@_why
@server_options
def retire_keys(identity: int, number: int, reason: str) -> None:
    """Retire the keys before NUMBER. Refused while an eUICC obeys one of them."""
    target = target_here()
    _say(target, target.run(lambda client: client.retire_keys(identity, KeyChoice(number, reason))))


@associations.command()
@click.argument("eid")
@_why
@server_options
def resume(eid: str, reason: str) -> None:
    """Let a stalled eUICC go on: `eim devices show EID` says why it stalled."""
    target = target_here()
    done = target.run(lambda client: client.resume_euicc(eid, Resumption(reason)))
    say(target, done, lambda: f"{done.eid} goes on")


async def _all(client: Client, identity: int, wanted: KeyMove) -> KeyMoving:
    """Call until nobody is left; each call is one transaction."""
    done = await client.move_to_newest_key(identity, wanted)
    ordered = done.ordered
    while done.left and done.ordered:
        rest = KeyMove(wanted.reason, wanted.tag, wanted.eids, wanted.new_count, done.left)
        done = await client.move_to_newest_key(identity, rest)
        ordered += done.ordered
    return KeyMoving(done.order, done.key, ordered, done.left)


def _say(target: Target, found: KeyList) -> None:
    columns = ("Key", "Curve", "eUICCs", "Moving away", "Loaded", "Retired", "Made")
    rows = ((k.number, k.curve, k.euiccs, k.moving, k.loaded, k.retired, k.created_at) for k in found.items)
    say(target, found.items, lambda: table(columns, rows))
