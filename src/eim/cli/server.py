"""Which server the commands talk to, as whom, and how they say what it answered."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eim.cli import known_servers
from eim.cli.known_servers import Server
from eim.client import Client
from eim.config_loading import load
from eim.errors import BadConfiguration, InvalidRequest

TOKEN_FILE: Final = "operator.token"  # in the data directory, made at the first start
META: Final = "eim."
MOMENT: Final = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%SZ"])  # as 2027-01-31T12:00:00+00:00
_DEFAULT: Final = "http://127.0.0.1:8080"
_WIDE: Final = 10_000  # columns: an EID in two pieces can't be copied, so the terminal wraps lines, not we

A = TypeVar("A")
F = TypeVar("F", bound=Callable[..., object])


def keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Leave an option of many commands where `target_here` and its like find it."""
    context.meta[META + str(parameter.name)] = value


def _names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The known servers, for the tab key."""
    try:
        return [CompletionItem(name) for name in known_servers.read().servers if name.startswith(incomplete)]
    except BadConfiguration:
        return []


_OPTIONS: Final = (
    click.option(
        "--server",
        envvar="EIM_SERVER",
        show_default=f"the current one of `eim servers`, or {_DEFAULT}",
        expose_value=False,
        callback=keep,
        help="The eIM's operator address (EIM_SERVER).",
    ),
    click.option(
        "--profile",
        envvar="EIM_PROFILE",
        expose_value=False,
        callback=keep,
        shell_complete=_names,
        help="One of `eim servers list` (EIM_PROFILE).",
    ),
    click.option(
        "--token",
        envvar="EIM_TOKEN",
        expose_value=False,
        callback=keep,
        help=f"The API token (EIM_TOKEN). Default: the one in <data directory>/{TOKEN_FILE}.",
    ),
    click.option(
        "--ca",
        envvar="EIM_CA",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        expose_value=False,
        callback=keep,
        help="The CA (PEM) that the server's certificate leads to (EIM_CA). Default: the system's.",
    ),
    click.option(
        "--json", is_flag=True, expose_value=False, callback=keep, help="Print JSON for programs instead of tables."
    ),
)


class Target(msgspec.Struct, frozen=True):
    """Where to, as whom, and whether the answer is for a person or a program."""

    server: str
    token: str
    json: bool
    ca: Path | None = None

    def __repr__(self) -> str:
        return f"Target(server={self.server!r}, json={self.json!r})"

    def run(self, deed: Callable[[Client], Awaitable[A]]) -> A:
        """Do `deed` with a client of this server."""

        async def connected() -> A:
            async with Client(self.server, self.token, trust=_trusting(self.ca)) as client:
                return await deed(client)

        return asyncio.run(connected())


def server_options(command: F) -> F:
    """The options of every command that talks to a server; in the command, `target_here` reads them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def target_here() -> Target:
    """What the present command's options say.

    Raises BadConfiguration when no token is given and none lies where the first start leaves one.
    """
    meta = click.get_current_context().meta
    server, known = meta[META + "server"], None
    if not server:
        known = _known(meta[META + "profile"])
        server = known.server if known else _DEFAULT
    token = meta[META + "token"] or (known.token if known else _kept_token())
    ca = meta[META + "ca"] or (Path(known.ca) if known and known.ca else None)
    return Target(checked_address(server), token, meta[META + "json"], ca)


def _known(profile: str | None) -> Server | None:
    """The server of this name, or the current one. Who says --server gets nothing of it: a token is for its server."""
    known = known_servers.read()
    name = profile or known.current
    return known.named(name) if name else None


def checked_address(server: str) -> str:
    """Raises InvalidRequest for what can't be one."""
    if not server.startswith(("http://", "https://")):
        raise InvalidRequest(f"--server is an address like {_DEFAULT}, not {server!r}")
    return server.rstrip("/")


def say(target: Target, value: msgspec.Struct | Sequence[msgspec.Struct], table: Callable[[], Table | str]) -> None:
    """Print `value` as JSON, or as `table` shows it."""
    if target.json:
        print_json(value)
    else:
        show(table())


def print_json(value: msgspec.Struct | Sequence[msgspec.Struct]) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def show(shown: Table | str) -> None:
    Console(width=_WIDE).print(shown, markup=False, highlight=False)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table whose cells are texts of others: nothing in them is markup."""
    headings = tuple(columns)
    made = Table(box=None, header_style="bold", pad_edge=False, show_header=any(headings))
    for column in headings:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    return made


def _cell(value: object) -> Text:
    if isinstance(value, datetime):
        return Text(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, tuple):
        return Text(", ".join(map(str, value)))
    return Text("-" if value is None else str(value))


def _trusting(ca: Path | None) -> ssl.SSLContext | None:
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError):
        raise BadConfiguration(f"--ca: {ca} is no PEM file with certificates") from None


def _kept_token() -> str:
    path = _data_dir() / TOKEN_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise BadConfiguration(
            f"no token: give --token or set EIM_TOKEN (there is none to be read in {path})"
        ) from None


def _data_dir() -> Path:
    return load(None, os.environ).config.server.data_dir
