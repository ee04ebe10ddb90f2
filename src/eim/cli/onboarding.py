"""`eim devices import`, `convert` and `unknown`: files of eUICCs, and those that call without being onboarded."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final
from uuid import UUID

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from eim import api
from eim.api_onboarding import (
    Adoption,
    AdoptionOfMany,
    ImportProblem,
    ImportQuery,
    ImportView,
    ProblemQuery,
    UnknownCaller,
    UnknownQuery,
)
from eim.cli.mapping import convert_bundle, read_mapping
from eim.cli.server import Target, say, server_options, table, target_here
from eim.client import Client, Upload
from eim.errors import InvalidLines, InvalidRequest

_PIECE: Final = 65_536  # octets
_CSV: Final = (".csv", ".tsv", ".txt")
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN: Final = 20


@click.command("import")
@click.argument("file", type=_FILE)
@click.option("--counter-margin", type=click.IntRange(0, 8_388_607), default=1000, show_default=True, metavar="N")
@click.option("--problems", type=click.Path(dir_okay=False, path_type=Path), help="Write every bad line to this file.")
@click.option("--allow-invalid-check-digits", is_flag=True, help="Take EIDs whose check digits are wrong (test cards).")
@server_options
def import_file(file: Path, counter_margin: int, problems: Path | None, *, allow_invalid_check_digits: bool) -> None:
    """Onboard what a file lists, of any length: CSV with a heading (.csv), or one JSON object a line.

    Columns, in any order: eid, label, tags (separated by ;), group, time_zone, identity, association_token, counter,
    initial_counter, euicc_certificate, eum_certificate, unverifiable. Only eid is needed. Good lines are taken, bad
    ones reported (exit code 1). --counter-margin is added to each counter that another eIM used (docs/onboarding.md).
    """
    target = target_here()
    query = ImportQuery(counter_margin, allow_invalid_check_digits)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, disable=target.json,
    ) as progress:  # fmt: skip
        bar = progress.add_task(file.name, total=file.stat().st_size)
        upload = Upload(_media_type(file), lambda: _pieces(file, lambda at: progress.update(bar, completed=at)))
        done, bad = target.run(lambda client: _import(client, upload, query))
    if problems is not None:
        problems.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in bad))
    say(target, done, lambda: f"{done.accepted} onboarded, {done.refused} lines passed over")
    if done.refused:
        more = f", of which {len(bad[:_SHOWN])} follow" if len(bad) > _SHOWN else ""
        raise InvalidLines(
            f"{done.refused} lines were passed over{more}: correct them and import those again",
            [(each.line, each.detail) for each in bad[:_SHOWN]],
        )


@click.command()
@click.argument("ident", type=click.UUID, metavar="ID")
@server_options
def imported(ident: UUID) -> None:
    """Show how a file's import stands or ended, by its id, and every line that was passed over."""
    target = target_here()

    async def collect(client: Client) -> tuple[ImportView, list[ImportProblem]]:
        done = await client.import_report(ident)
        return done, await _problems(client, done)

    done, bad = target.run(collect)
    rows = [(name, getattr(done, name)) for name in done.__struct_fields__ if name != "problems"]
    rows += [(f"Line {each.line}", each.detail) for each in bad]
    say(target, msgspec.structs.replace(done, problems=tuple(bad)), lambda: table(("", ""), rows))


@click.command()
@click.argument("file", type=_FILE)
@click.option("--from", "source", type=click.Choice(["openiotrsp"]), required=True, help="Whose export the file is.")
@click.option(
    "--mapping", type=_FILE, help="Where the fields are, TOML or JSON, when they are not where we expect them."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: standard output.")
def convert(file: Path, source: str, mapping: Path | None, out: Path | None) -> None:
    """Turn another eIM's export (JSON) into lines that `eim devices import` takes. See docs/onboarding.md."""
    lines = convert_bundle(file, read_mapping(source, mapping))
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    if out is None:
        click.echo(text.decode(), nl=False)
    else:
        out.write_bytes(text)
        click.echo(f"{len(lines)} lines in {out}: eim devices import {out}", err=True)


@click.command()
@click.option("--adopt", "eids", multiple=True, metavar="EID", help="Onboard this one; may be given several times.")
@click.option("--adopt-all", is_flag=True, help="Onboard all of them; --confirm says how many that are.")
@click.option("--confirm", type=int, metavar="N", help="How many --adopt-all means.")
@click.option("--label", help="What people call those that are adopted.")
@click.option("--tag", "tags", multiple=True, help="A tag for those that are adopted; may be given several times.")
@click.option("--group", help="The group of those that are adopted.")
@click.option("--identity", help="The eimId they are associated with. Default: the only one.")
@server_options
def unknown(  # noqa: PLR0913 - one parameter an option
    eids: tuple[str, ...],
    confirm: int | None,
    label: str | None,
    tags: tuple[str, ...],
    group: str | None,
    identity: str | None,
    *,
    adopt_all: bool,
) -> None:
    """List the EIDs that call and that nobody onboarded, most calls first; or adopt them."""
    target = target_here()
    if adopt_all and eids:
        raise InvalidRequest("--adopt names some, --adopt-all means all: give one of the two")
    if adopt_all or eids:
        _adopt(target, AdoptionOfMany(label, tags, group, identity, eids or None, confirm))
        return
    found = target.run(_unknown)
    rows = ((e.eid, e.polls, e.source, e.first_seen_at, e.last_seen_at) for e in found)
    say(target, found, lambda: table(("EID", "Polls", "From", "First seen", "Last seen"), rows))


def _adopt(target: Target, wanted: AdoptionOfMany) -> None:
    async def adopt(client: Client) -> api.Onboarded:
        if wanted.eids is not None and len(wanted.eids) == 1:
            one = Adoption(wanted.label, wanted.tags, wanted.group, wanted.identity)
            return await client.adopt(wanted.eids[0], one)
        return await client.adopt_many(wanted)

    done = target.run(adopt)
    say(target, done, lambda: f"{done.accepted} onboarded: they are introduced at their next call")


async def _unknown(client: Client) -> list[UnknownCaller]:
    found: list[UnknownCaller] = []
    query = UnknownQuery(limit=1000)
    while True:
        page = await client.unknown_callers(query)
        found += page.items
        if page.next is None:
            return found
        query = msgspec.structs.replace(query, cursor=page.next)


async def _import(client: Client, upload: Upload, query: ImportQuery) -> tuple[ImportView, list[ImportProblem]]:
    done = await client.import_euiccs(upload, query)
    return done, await _problems(client, done)


async def _problems(client: Client, done: ImportView) -> list[ImportProblem]:
    bad: list[ImportProblem] = list(done.problems)
    while len(bad) < done.refused:
        page = await client.import_problems(done.id, ProblemQuery(bad[-1].line, 1000))
        bad += page.items
        if page.next is None:
            break
    return bad


def _media_type(file: Path) -> str:
    return "text/csv" if file.suffix.lower() in _CSV else "application/x-ndjson"


async def _pieces(file: Path, sent: Callable[[int], object]) -> AsyncIterator[bytes]:
    at = 0
    with file.open("rb") as opened:
        while piece := await asyncio.to_thread(opened.read, _PIECE):
            yield piece
            at += len(piece)
            sent(at)
