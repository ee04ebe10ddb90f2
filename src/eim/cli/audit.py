"""`eim audit`: who did what, and whether the record of it is what was written."""

import asyncio
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from eim import credentials
from eim.api_access import AuditQuery
from eim.cli.config import config_option, read
from eim.cli.server import say, server_options, table, target_here
from eim.config import Config
from eim.errors import InvalidRequest
from eim.keys import checkpoints
from eim.postgres import dsn_of_running
from eim.services.verifying import Anchor, Report, verify
from eim.store.connect import DbRole, open_pool

_MOMENT: Final = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%SZ"])
_SHOWN: Final = 20


@click.group()
def audit() -> None:
    """See who did what, and prove that nobody changed the record of it."""


@audit.command()
@click.option("--actor", help="Who: token:NAME, device, worker, setup.")
@click.option("--action", help="What it starts with: order. or order.place.")
@click.option("--subject", help="An EID, the id of an operation or order, a token's name.")
@click.option("--since", type=_MOMENT, help="As 2027-01-31T12:00:00+00:00.")
@click.option("--until", type=_MOMENT, help="As --since; the moment itself is out.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@server_options
def search(  # noqa: PLR0913 - one parameter an option
    *,
    actor: str | None,
    action: str | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> None:
    """List records, newest first."""
    target = target_here()
    query = AuditQuery(limit, None, actor, action, subject, since, until)
    found = target.run(lambda client: client.audit(query)).items
    rows = ((e.at, e.actor, e.action, e.subject, _data(e.data)) for e in found)
    say(target, found, lambda: table(("At", "Who", "What", "About", "With"), rows))


@audit.command("verify")
@config_option
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The public half, from `key`."
)
@click.option("--expect", metavar="SEQ:HASH", help="A checkpoint that was printed before. Default: the one kept here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def verify_all(file: Path | None, key: Path | None, expect: str | None, *, as_json: bool) -> None:
    """Compare every record with its link, and the links with what was signed. Exit code 1: something is wrong.

    Needs the database itself, not the server. Records of the last minute may not be linked yet.
    """
    config = read(file).config
    report = asyncio.run(_verify(config, key, _anchor(config, expect)))
    click.echo(_json(report) if as_json else "\n".join(_lines(report)))
    sys.exit(1 if report.faults else 0)


@audit.command("key")
@config_option
def print_key(file: Path | None) -> None:
    """Print the public half of the checkpoint key, for who verifies elsewhere."""
    config = read(file).config
    click.echo(checkpoints.pem_of(credentials.key_store(config).load(checkpoints.KEY_NAME).spki), nl=False)


async def _verify(config: Config, key: Path | None, anchor: Anchor | None) -> Report:
    store = credentials.key_store(config)
    spki = checkpoints.read_public(key) if key is not None else store.load(checkpoints.KEY_NAME).spki
    database = config.database
    dsn = database.worker_dsn or database.dsn
    login = dsn.text if dsn is not None else dsn_of_running(config.server.data_dir / "postgres", DbRole.WORKER)
    pool = await open_pool(login, DbRole.WORKER, database.schema, 1)
    try:
        return await verify(pool, checkpoints.verifier(spki), anchor)
    finally:
        pool.terminate()


def _anchor(config: Config, expect: str | None) -> Anchor | None:
    if expect is None:
        return checkpoints.kept(config.server.data_dir)
    seq, _, text = expect.partition(":")
    try:
        return Anchor(int(seq), bytes.fromhex(text))
    except ValueError:
        raise InvalidRequest("--expect is what `eim audit verify` printed: a number, a colon, 64 hex digits") from None


def _lines(report: Report) -> list[str]:
    head = f", the newest is {report.head.seq}:{report.head.hash.hex()}" if report.head else ""
    late = f"; {report.late} were linked long after they were written" if report.late else ""
    lines = [f"{report.records} records linked{late}; {report.checkpoints} checkpoints{head}"]
    lines += [f"WRONG: {fault.text}" for fault in report.faults[:_SHOWN]]
    if len(report.faults) > _SHOWN:
        lines.append(f"and {len(report.faults) - _SHOWN} more: see them with --json")
    return [*lines, "the audit is NOT what was written" if report.faults else "the audit is what was written"]


def _json(report: Report) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def _data(said: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)
