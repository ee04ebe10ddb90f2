"""`eim servers`: several installations by name, so that no command needs an address and a token."""

import sys
from pathlib import Path

import click
import msgspec

from eim.cli import known_servers
from eim.cli.known_servers import Server
from eim.cli.server import checked_address, print_json, show, table
from eim.errors import InvalidRequest


class Listed(msgspec.Struct, frozen=True):
    """A known server, without its token."""

    name: str
    server: str
    ca: str | None
    current: bool


@click.group()
def servers() -> None:
    """Keep the addresses and tokens of several servers, each by a name.

    They lie in ~/.config/eim/servers.toml ($XDG_CONFIG_HOME, $EIM_SERVERS_FILE), for its owner only. Commands talk to
    the current one; --profile NAME or EIM_PROFILE means another. --server always wins, and takes nothing from the list.
    """


@servers.command()
@click.argument("name")
@click.option("--server", required=True, help="Its operator address, as https://eim.example.com:8080.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the token; it is copied.",
)
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="The CA (PEM) that its certificate leads to. Default: the system's.",
)
def add(name: str, server: str, token_file: Path | None, ca: Path | None, *, token_stdin: bool) -> None:
    """Add a server, or give a known one another address, token and CA. The first one becomes the current one."""
    address = checked_address(server)
    token = _token(token_file, from_stdin=token_stdin)
    known = known_servers.add(name, Server(address, token, str(ca) if ca else None))
    current = "the current one" if known.current == name else f"for --profile {name}, or after: eim servers use {name}"
    click.echo(f"{name} is {address}: {current}")


@servers.command()
@click.argument("name")
def use(name: str) -> None:
    """Make one the current one: commands talk to it when nothing else is said."""
    known = known_servers.use(name)
    click.echo(f"commands talk to {known.named(name).server} from now on")


@servers.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of a table.")
def list_all(*, as_json: bool) -> None:
    """List the known servers; their tokens are never shown."""
    known = known_servers.read()
    found = [Listed(name, s.server, s.ca, name == known.current) for name, s in sorted(known.servers.items())]
    if as_json:
        print_json(found)
    else:
        rows = (("*" if each.current else "", each.name, each.server, each.ca) for each in found)
        show(table(("", "Name", "Server", "CA"), rows))


@servers.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget a server and its token here; the token itself goes on working (eim token revoke)."""
    known = known_servers.remove(name)
    click.echo(f"{name} is forgotten; its token still works until it is revoked")
    if known.current is None and known.servers:
        click.echo("none is the current one now: eim servers use NAME", err=True)


def _token(file: Path | None, *, from_stdin: bool) -> str:
    if (file is not None) == from_stdin:
        raise InvalidRequest("give the token by --token-file or by --token-stdin: a command line can be read by others")
    try:
        said = (sys.stdin.read() if file is None else file.read_text(encoding="ascii")).strip()
    except (OSError, ValueError):
        said = ""
    if not (said.isascii() and said.isprintable() and said and " " not in said):
        raise InvalidRequest("there is no token in what was given: it is one word that begins with eim_")
    return said
