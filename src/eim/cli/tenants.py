"""`eim tenants`: who shares this installation; `eim identities`: who the eIM is to cards."""

from collections.abc import Iterable
from datetime import datetime
from typing import get_args

import click

from eim import api
from eim.api_access import (
    IdentityView,
    NewTenant,
    NewToken,
    Retirement,
    TenantChange,
    TenantLimits,
    TenantView,
)
from eim.cli.server import MOMENT, say, server_options, table, target_here
from eim.cli.tokens import told
from eim.client import Client

_MANY = click.IntRange(0, 2**31 - 1)


@click.group()
def tenants() -> None:
    """Make, list and limit the tenants of this installation."""


@tenants.command()
@click.argument("name")
@click.option("--identity", help="The eimId it shares with the installation. Default: its only one.")
@click.option("--euiccs", type=_MANY, help="The most eUICCs it may have.")
@click.option("--tokens", type=click.IntRange(1, 2**31 - 1), help="The most tokens it may have.")
@click.option("--orders-a-day", type=_MANY, help="The most orders it may place in 24 hours.")
@server_options
def create(name: str, identity: str | None, euiccs: int | None, tokens: int | None, orders_a_day: int | None) -> None:
    """Make a tenant; give it its first token with `eim tenants token`."""
    target = target_here()
    new = NewTenant(name, TenantLimits(euiccs, tokens, orders_a_day), identity)
    made = target.run(lambda client: client.create_tenant(new))
    say(target, made, lambda: f"tenant {made.id}: {made.name}")


@tenants.command("list")
@server_options
def list_all() -> None:
    """List the tenants and their limits."""
    target = target_here()
    found = target.run(lambda client: client.tenants()).items
    rows = ((t.id, t.name, t.limits.euiccs, t.limits.tokens, t.limits.orders_a_day, t.created_at) for t in found)
    say(target, found, lambda: table(("ID", "Name", "eUICCs", "Tokens", "Orders a day", "Made"), rows))


@tenants.command()
@click.argument("tenant", type=int, metavar="ID")
@click.option("--euiccs", type=_MANY, help="The most eUICCs it may have. Without: no limit.")
@click.option("--tokens", type=click.IntRange(1, 2**31 - 1), help="The most tokens it may have. Without: no limit.")
@click.option("--orders-a-day", type=_MANY, help="The most orders in 24 hours. Without: no limit.")
@server_options
def limit(tenant: int, euiccs: int | None, tokens: int | None, orders_a_day: int | None) -> None:
    """Replace the limits of a tenant."""
    target = target_here()
    change = TenantChange(TenantLimits(euiccs, tokens, orders_a_day))

    async def change_it(client: Client) -> TenantView:
        return await client.limit_tenant(await client.tenant(tenant), change)

    done = target.run(change_it)
    say(target, done, lambda: f"tenant {done.id}: {done.name} is limited")


@tenants.command()
@click.argument("tenant", type=int, metavar="ID")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(get_args(api.ScopeName)))
@click.option("--expires-at", type=MOMENT, help="As 2027-01-31T12:00:00+00:00.")
@server_options
def token(tenant: int, name: str, scopes: tuple[api.ScopeName, ...], expires_at: datetime | None) -> None:
    """Make a token in a tenant. It is printed once; only its hash is kept."""
    target = target_here()
    made = target.run(lambda client: client.create_tenant_token(tenant, NewToken(name, scopes, expires_at)))
    say(target, made, lambda: told(made))


@click.group()
def identities() -> None:
    """Show who the eIM is to cards; retire an identity."""


@identities.command("list")
@server_options
def list_identities() -> None:
    """List the identities of the tenant."""
    target = target_here()
    found = target.run(lambda client: client.identities()).items
    rows = ((i.id, i.eim_id, i.eim_id_type, i.fqdn, i.curve, i.created_at, i.retired_at) for i in found)
    say(target, found, lambda: table(("ID", "eimId", "Type", "FQDN", "Curve", "Made", "Retired"), rows))


@identities.command()
@click.argument("identity", type=int, metavar="ID")
@server_options
def show(identity: int) -> None:
    """Show one identity, and what a factory loads into cards."""
    target = target_here()
    found = target.run(lambda client: client.identity(identity))
    say(target, found, lambda: table(("", ""), _shown(found)))


@identities.command()
@click.argument("identity", type=int, metavar="ID")
@click.option("--reason", required=True, help="Why.")
@click.option("--force", is_flag=True, help="Even when it is the last one.")
@server_options
def retire(identity: int, reason: str, *, force: bool) -> None:
    """Let no new eUICC be bound to it; those that are stay."""
    target = target_here()
    found = target.run(lambda client: client.retire_identity(identity, Retirement(reason, force)))
    say(target, found, lambda: f"identity {found.id} ({found.eim_id}) is retired")


def _shown(found: IdentityView) -> Iterable[tuple[object, object]]:
    return [(name, getattr(found, name)) for name in found.__struct_fields__]
