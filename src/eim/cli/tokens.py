"""`eim token`: make, list and revoke tokens of the operator's interface."""

from typing import get_args
from uuid import UUID

import click

from eim import api
from eim.api_access import NewToken, Rotation, TokenCreated
from eim.cli.server import say, server_options, table, target_here


@click.group()
def token() -> None:
    """Make, list and revoke API tokens."""


@token.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(get_args(api.ScopeName)))
@click.option("--expires-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="As 2027-01-31T12:00:00+00:00.")
@server_options
def create(name: str, scopes: tuple[api.ScopeName, ...], expires_at: api.Moment | None) -> None:
    """Make a token. It is printed once; only its hash is kept."""
    target = target_here()
    made = target.run(lambda client: client.create_token(NewToken(name, scopes, expires_at)))
    say(target, made, lambda: told(made))


@token.command("list")
@server_options
def list_all() -> None:
    """List the tokens that work."""
    target = target_here()
    found = target.run(lambda client: client.tokens()).items
    rows = ((t.id, t.name, t.scopes, t.created_at, t.expires_at) for t in found)
    say(target, found, lambda: table(("ID", "Name", "Scopes", "Made", "Expires"), rows))


@token.command()
@click.argument("ident", type=click.UUID, metavar="ID")
@server_options
def revoke(ident: UUID) -> None:
    """End a token at once."""
    target = target_here()
    ended = target.run(lambda client: client.revoke_token(ident))
    say(target, ended, lambda: f"token {ended.name} is revoked")


@token.command()
@click.argument("ident", type=click.UUID, metavar="ID")
@click.option("--grace", type=click.IntRange(0, 30 * 86_400), default=0, show_default=True, help="Seconds for the old.")
@server_options
def rotate(ident: UUID, grace: int) -> None:
    """Put another token in its place; the old one may work a while longer."""
    target = target_here()
    made = target.run(lambda client: client.rotate_token(ident, Rotation(grace)))
    say(target, made, lambda: told(made))


def told(made: TokenCreated) -> str:
    """The new token, or what to do when its only answer was lost on the way."""
    return made.token or f"made, but the answer with it was lost: eim token rotate {made.id} gives another"
