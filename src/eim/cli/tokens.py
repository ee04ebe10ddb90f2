"""`eim token`: make, list and revoke tokens of the operator's interface."""

from typing import get_args
from uuid import UUID

import click

from eim import api
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
    made = target.run(lambda client: client.create_token(api.NewToken(name, scopes, expires_at)))
    say(target, made, lambda: made.token)


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
