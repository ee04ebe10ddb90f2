"""`eim devices`: onboard eUICCs, list them, look at one."""

from pathlib import Path
from typing import Final

import click
import msgspec
from msgspec import UNSET
from rich.table import Table

from eim import api
from eim.cli.imports import Numbered, read_euiccs
from eim.cli.server import say, server_options, table, target_here
from eim.client import Client, ServerRefused
from eim.errors import InvalidLines

_BATCH: Final = 10_000  # eUICCs a request
_ON_ERROR: Final[dict[bool, api.OnErrorName]] = {True: "skip", False: "refuse"}  # by --skip


@click.group()
def devices() -> None:
    """Onboard eUICCs, list them, look at one."""


@devices.command()
@click.argument("eids", nargs=-1, required=True, metavar="EID...")
@click.option("--label", help="What people call it.")
@click.option("--tag", "tags", multiple=True, help="A tag to find it by; may be given several times.")
@click.option("--allow-invalid-check-digits", is_flag=True, help="Take EIDs whose check digits are wrong (test cards).")
@server_options
def add(eids: tuple[str, ...], label: str | None, tags: tuple[str, ...], *, allow_invalid_check_digits: bool) -> None:
    """Onboard eUICCs by their EIDs; the rest completes itself when they call."""
    target = target_here()
    euiccs = tuple(api.NewEuicc(eid, label, tags) for eid in eids)
    new = api.NewEuiccs(euiccs, allow_invalid_check_digits=allow_invalid_check_digits)
    done = target.run(lambda client: client.add_euiccs(new))
    say(target, done, lambda: f"{done.accepted} onboarded: they are introduced at their next call")


@devices.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--skip", is_flag=True, help="Take the good lines and report the bad; otherwise one bad line stops it.")
@click.option("--allow-invalid-check-digits", is_flag=True, help="Take EIDs whose check digits are wrong (test cards).")
@server_options
def import_file(file: Path, *, skip: bool, allow_invalid_check_digits: bool) -> None:
    """Onboard what a file lists: CSV with a heading, or one JSON object a line.

    Columns: eid, label, tags (separated by ;), identity, association_token, counter, euicc_certificate,
    eum_certificate, unverifiable. Only eid is needed. A file of more than 10,000 lines goes in several parts.
    """
    target = target_here()
    lines = read_euiccs(file)
    frame = api.NewEuiccs((), _ON_ERROR[skip], allow_invalid_check_digits)
    done = target.run(lambda client: _import(client, lines, frame))
    say(target, done, lambda: _imported(done))


@devices.command("list")
@click.option("--tag", help="Only those with this tag.")
@click.option("--label", help="Only those whose label starts so.")
@click.option("--service-provider", help="Only those whose enabled profile is of this service provider.")
@click.option("--introduced/--not-introduced", default=None, help="Only those that are (not) introduced.")
@server_options
def list_all(tag: str | None, label: str | None, service_provider: str | None, *, introduced: bool | None) -> None:
    """List eUICCs, oldest first."""
    target = target_here()
    query = api.EuiccQuery(tag=tag, label=label, introduced=introduced, service_provider=service_provider)

    async def collect(client: Client) -> list[api.EuiccEntry]:
        return [each async for each in client.all_euiccs(query)]

    found = target.run(collect)
    columns = ("EID", "Label", "Tags", "Carrier", "Introduced", "Last seen")
    rows = ((e.eid, e.label, e.tags, e.service_provider, e.introduced_at, e.last_seen_at) for e in found)
    say(target, found, lambda: table(columns, rows))


@devices.command()
@click.argument("eid")
@server_options
def show(eid: str) -> None:
    """Show one eUICC: what is known of it, its profiles, and what happened last."""
    target = target_here()

    async def collect(client: Client) -> Shown:
        events = await client.events(eid, api.PageQuery(limit=20))
        return Shown(await client.euicc(eid), (await client.profiles(eid)).items, events.items)

    shown = target.run(collect)
    say(target, shown, lambda: _shown(shown))


@devices.command()
@click.argument("eid")
@click.option("--label", help="The new label; '' takes it away.")
@click.option("--tag", "tags", multiple=True, help="The new tags, all of them; may be given several times.")
@click.option("--no-tags", is_flag=True, help="Take all tags away.")
@server_options
def edit(eid: str, label: str | None, tags: tuple[str, ...], *, no_tags: bool) -> None:
    """Change the label or the tags of one eUICC."""
    target = target_here()
    change = api.EuiccChange(UNSET if label is None else label or None, () if no_tags else tags or UNSET)
    done = target.run(lambda client: client.edit_euicc(eid, change))
    say(target, done, lambda: f"{done.euicc.eid}: label {done.euicc.label}, tags {', '.join(done.euicc.tags) or '-'}")


@devices.command()
@click.argument("eid")
@click.option("--reason", required=True, help="Why it goes.")
@click.option("--force", is_flag=True, help="Even while operations are open.")
@server_options
def offboard(eid: str, reason: str, *, force: bool) -> None:
    """Take one eUICC out of this eIM; its last counter is printed, and kept."""
    target = target_here()
    gone = target.run(lambda client: client.offboard_euicc(eid, api.OffboardQuery(reason, force)))
    say(target, gone, lambda: f"{gone.eid} is out; the last counter of {gone.identity} with it was {gone.counter}")


class Shown(msgspec.Struct, frozen=True):
    """One eUICC with what belongs to it."""

    euicc: api.EuiccView
    profiles: tuple[api.ProfileView, ...]
    events: tuple[api.EventView, ...]


async def _import(client: Client, lines: tuple[Numbered, ...], frame: api.NewEuiccs) -> api.Onboarded:
    """Send the lines in parts; line numbers become those of the file again."""
    eids: list[str] = []
    bad: list[api.BadLine] = []
    for start in range(0, len(lines), _BATCH):
        part = lines[start : start + _BATCH]
        try:
            done = await client.add_euiccs(msgspec.structs.replace(frame, euiccs=tuple(each.new for each in part)))
        except ServerRefused as refusal:
            found = [(part[each.line - 1].line, each.detail) for each in refusal.problem.bad_lines]
            done_before = f" ({len(eids)} of the lines before are onboarded)" if eids else ""
            raise InvalidLines(f"{refusal}{done_before}", found) from None
        eids += done.eids
        bad += [api.BadLine(part[each.line - 1].line, each.detail) for each in done.bad_lines]
    return api.Onboarded(len(eids), tuple(eids), tuple(bad))


def _imported(done: api.Onboarded) -> str:
    bad = [f"line {each.line}: {each.detail}" for each in done.bad_lines]
    return "\n".join([f"{done.accepted} onboarded, {len(bad)} lines passed over", *bad])


def _shown(shown: Shown) -> Table:
    euicc, association, head = shown.euicc.euicc, shown.euicc.association, shown.euicc.mailbox
    rows: list[tuple[object, object]] = [
        ("EID", euicc.eid),
        ("Label", euicc.label),
        ("Tags", euicc.tags),
        ("Introduced", euicc.introduced_at),
        ("Last seen", euicc.last_seen_at),
        ("Speaks", euicc.speaks),
        ("Identity", association.identity),
        ("Certificate", "trusted" if association.certified else None),
        ("Counter", association.counter),
        ("Signature form", association.signature_form),
        ("In its mailbox", f"{head.operation}, given {head.deliveries} times" if head else None),
    ]
    rows += [("Profile", f"{p.iccid} {p.state} {p.service_provider or ''}") for p in shown.profiles]
    rows += [("Event", _happened(event)) for event in shown.events]
    return table(("", ""), rows)


def _happened(event: api.EventView) -> str:
    said = ", ".join(f"{name} {value}" for name, value in event.data.items() if value is not None)
    return f"{event.at.astimezone():%Y-%m-%d %H:%M:%S} {event.kind}" + (f": {said}" if said else "")
