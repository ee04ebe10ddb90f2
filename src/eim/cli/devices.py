"""`eim devices`: onboard eUICCs, list them, look at one."""

from pathlib import Path
from typing import Any, Final, get_args

import click
import msgspec
from msgspec import UNSET, UnsetType
from rich.table import Table

from eim import api
from eim.cli.barring import barred, quarantine, release, told
from eim.cli.onboarding import convert, import_file, imported, unknown
from eim.cli.seeing import timeline, trace
from eim.cli.server import MOMENT, say, server_options, table, target_here
from eim.client import Client, ServerRefused
from eim.domain.change import network_name
from eim.domain.explanations import meaning_of

_FORBIDDEN: Final = 403


@click.group()
def devices() -> None:
    """Onboard eUICCs, list them, look at one."""


_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)
_COUNTER = click.IntRange(0, 8_388_607)


@devices.command()
@click.argument("eids", nargs=-1, required=True, metavar="EID...")
@click.option("--label", help="What people call it.")
@click.option("--tag", "tags", multiple=True, help="A tag to find it by; may be given several times.")
@click.option("--group", help="The group it belongs to.")
@click.option("--time-zone", help="As Europe/Berlin.")
@click.option("--identity", help="The eimId it is associated with. Default: the only one.")
@click.option("--association-token", type=click.IntRange(0), help="The token the card gave, when it is known.")
@click.option("--counter", type=_COUNTER, help="The last counter that was used with it.")
@click.option("--initial-counter", type=_COUNTER, help="The counter it was loaded with.")
@click.option("--euicc-certificate", type=_PEM, help="A file with its certificate, PEM.")
@click.option("--eum-certificate", type=_PEM, help="A file with its maker's certificate, PEM.")
@click.option("--unverifiable", is_flag=True, help="It can't sign (a test card): believe what it sends.")
@click.option("--allow-invalid-check-digits", is_flag=True, help="Take EIDs whose check digits are wrong (test cards).")
@server_options
def add(*, eids: tuple[str, ...], allow_invalid_check_digits: bool, **known: Any) -> None:
    """Onboard eUICCs by their EIDs; the rest completes itself when they call."""
    target = target_here()
    for name in ("euicc_certificate", "eum_certificate"):
        known[name] = known[name].read_text(encoding="ascii", errors="replace") if known[name] else None
    euiccs = tuple(api.NewEuicc(eid, **known) for eid in eids)
    if len(euiccs) == 1:
        fields = {name: getattr(euiccs[0], name) for name in euiccs[0].__struct_fields__}
        alone = api.NewEuiccAlone(**fields, allow_invalid_check_digits=allow_invalid_check_digits)
        done = target.run(lambda client: client.add_euicc(alone))
    else:
        new = api.NewEuiccs(euiccs, allow_invalid_check_digits=allow_invalid_check_digits)
        done = target.run(lambda client: client.add_euiccs(new))
    say(target, done, lambda: f"{done.accepted} onboarded: they are introduced at their next call")


@devices.command("list")
@click.option("--tag", help="Only those with this tag.")
@click.option("--label", help="Only those whose label starts so.")
@click.option("--group", help="Only those of this group.")
@click.option("--service-provider", help="Only those whose enabled profile is of this service provider.")
@click.option("--iccid", help="Only those that hold this profile, enabled or not.")
@click.option("--identity", help="Only those associated with this eimId.")
@click.option("--speaks", type=click.Choice(get_args(api.SpeaksName)), help="Only those that speak this version.")
@click.option("--plmn", help="Only those last seen in this network: 3 octets in hex, as the device says them.")
@click.option("--introduced/--not-introduced", default=None, help="Only those that are (not) introduced.")
@click.option("--busy/--idle", default=None, help="Only those with (without) an open operation.")
@click.option("--unverifiable/--verifiable", default=None, help="Only those that can't (can) sign.")
@click.option("--seen-after", type=MOMENT, help="Only those seen since, as 2027-01-31T12:00:00+00:00.")
@click.option("--seen-before", type=MOMENT, help="Only those not seen since, or never.")
@click.option("--created-after", type=MOMENT, help="Only those onboarded since.")
@click.option("--created-before", type=MOMENT, help="Only those onboarded before.")
@server_options
def list_all(**filters: Any) -> None:
    """List eUICCs, oldest first."""
    target = target_here()
    query = api.EuiccQuery(**filters)

    async def collect(client: Client) -> list[api.EuiccEntry]:
        return [each async for each in client.all_euiccs(query)]

    found = target.run(collect)
    columns = ("EID", "Label", "Tags", "Carrier", "Introduced", "Last seen")
    rows = ((e.eid, e.label, e.tags, e.service_provider, e.introduced_at, e.last_seen_at) for e in found)
    say(target, found, lambda: table(columns, rows))


@devices.command()
@click.argument("iccid")
@server_options
def holding(iccid: str) -> None:
    """Find the eUICCs that hold a profile, by its ICCID."""
    target = target_here()
    found = target.run(lambda client: client.find_profiles(iccid)).items
    rows = ((p.eid, p.iccid, p.state, p.service_provider, p.nickname or p.name) for p in found)
    say(target, found, lambda: table(("EID", "ICCID", "State", "Carrier", "Name"), rows))


@devices.command()
@server_options
def summary() -> None:
    """Count: eUICCs, those introduced, enabled profiles by carrier, operations by state."""
    target = target_here()
    found = target.run(lambda client: client.summary())
    rows: list[tuple[object, object]] = [("eUICCs", found.euiccs), ("Introduced", found.introduced)]
    rows += [(f"On {carrier}", many) for carrier, many in sorted(found.carriers.items())]
    rows += [(f"Operations {state}", many) for state, many in found.operations.items()]
    say(target, found, lambda: table(("", ""), [*rows, ("As of", found.as_of)]))


@devices.command()
@click.argument("eid")
@server_options
def show(eid: str) -> None:
    """Show one eUICC: what is known of it, its profiles, how its operations stand, and what happened last."""
    target = target_here()

    async def collect(client: Client) -> Shown:
        events = await client.events(eid, api.PageQuery(limit=20))
        profiles = (await client.profiles(eid)).items
        return Shown(await client.euicc(eid), profiles, events.items, await _operations(client, eid))

    shown = target.run(collect)
    say(target, shown, lambda: _shown(shown))


@devices.command()
@click.argument("eid")
@click.option("--label", help="The new label; '' takes it away.")
@click.option("--tag", "tags", multiple=True, help="The new tags, all of them; may be given several times.")
@click.option("--no-tags", is_flag=True, help="Take all tags away.")
@click.option("--group", help="The new group; '' takes it away.")
@click.option("--time-zone", help="The new time zone, as Europe/Berlin; '' takes it away.")
@click.option("--unverifiable/--verifiable", default=None, help="It can't (can) sign; needs --reason.")
@click.option("--reason", help="Why --unverifiable or --verifiable.")
@server_options
def edit(  # noqa: PLR0913 - one parameter an option
    eid: str,
    label: str | None,
    tags: tuple[str, ...],
    group: str | None,
    time_zone: str | None,
    reason: str | None,
    *,
    no_tags: bool,
    unverifiable: bool | None,
) -> None:
    """Change what is written on one eUICC: label, tags, group, time zone, whether it can sign."""
    target = target_here()
    change = api.EuiccChange(
        label=_written(label),
        tags=() if no_tags else tags or UNSET,
        group=_written(group),
        time_zone=_written(time_zone),
        unverifiable=UNSET if unverifiable is None else unverifiable,
        reason=reason,
    )
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


def _written(said: str | None) -> str | UnsetType | None:
    """Absent stays, '' goes."""
    return UNSET if said is None else said or None


class Shown(msgspec.Struct, frozen=True):
    """One eUICC with what belongs to it."""

    euicc: api.EuiccView
    profiles: tuple[api.ProfileView, ...]
    events: tuple[api.EventView, ...]
    operations: tuple[api.OperationView, ...]  # those that are open, and those that were ordered last


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
        *_state(shown.euicc),
        ("Certificate", "trusted" if association.certified else None),
        ("Key", _key(association)),
        ("Counter", association.counter),
        ("Stalled", _stalled(association)),
        ("Hand-over", association.handover),
        ("Handed over", association.handed_over_at),
        ("Signature form", association.signature_form),
        ("In its mailbox", f"{head.operation}, given {head.deliveries} times" if head else None),
        ("Notifications", ", ".join(f"{many} {state}" for state, many in shown.euicc.notifications.items()) or None),
    ]
    rows += _told(shown.euicc)
    rows += [("Profile", _profile(p)) for p in shown.profiles]
    rows += [("Operation", _stands(operation)) for operation in shown.operations]
    rows += [("Event", _happened(event)) for event in shown.events]
    return table(("", ""), rows)


async def _operations(client: Client, eid: str) -> tuple[api.OperationView, ...]:
    """Newest first; none for a token that may not read operations."""
    try:
        still = (await client.operations(api.OperationQuery(limit=20, eid=eid, open=True))).items
        last = (await client.operations(api.OperationQuery(limit=10, eid=eid))).items
    except ServerRefused as refusal:
        if refusal.problem.status == _FORBIDDEN:
            return ()
        raise
    known = {operation.id: operation for operation in (*last, *still)}
    return tuple(sorted(known.values(), key=lambda operation: operation.created_at, reverse=True))


def _stands(operation: api.OperationView) -> str:
    of = f" {operation.iccid}" if operation.iccid else ""
    told = f"{operation.operation}{of} is {operation.state}: {operation.means}"
    return f"{told}. Next: {operation.next_step} ({operation.id})"


def _state(euicc: api.EuiccView) -> list[tuple[object, object]]:
    """What keeps work from it, and where it is: only what there is to say."""
    rows: list[tuple[object, object]] = [
        ("Nothing goes out", told(euicc.bar) if euicc.bar else None),
        ("Emergency call since", euicc.ecall_since),
        ("Reset reported", euicc.reset_at),
        ("Network (PLMN)", network_name(bytes.fromhex(euicc.plmn)) if euicc.plmn else None),
        ("Device", ", ".join(f"{name} {value}" for name, value in euicc.device.items()) or None),
    ]
    return [row for row in rows if row[1] is not None]


def _told(euicc: api.EuiccView) -> list[tuple[object, object]]:
    """What the card told of itself."""
    said = euicc.settings
    immediate, card = said.get("immediateEnable"), euicc.capabilities.get("card")
    rows: list[tuple[object, object]] = [("Default SM-DP+", said.get("defaultSmdpAddress"))]
    rows += [("Immediate enable", _words(immediate))] if isinstance(immediate, dict) else []
    rows += [("eIM on it", each.eim_id) for each in euicc.eims or ()]
    rows += [("Card", _words(card))] if isinstance(card, dict) else []
    return rows


def _profile(profile: api.ProfileView) -> str:
    marks = ["fallback"] * profile.fallback + list(profile.pprs or ())
    return " ".join([profile.iccid, profile.state, profile.service_provider or "", *marks])


def _words(said: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)


def _drift(differences: object) -> str:
    found = differences if isinstance(differences, list) else []
    told = (f"{d.get('what')} {d.get('which', '')}: believed {d.get('believed')}, is {d.get('said')}" for d in found)
    return "; ".join(told)


def _key(association: api.AssociationView) -> str:
    moving = "" if association.next_key is None else f", on its way to {association.next_key}"
    return f"{association.key}{moving}"


def _stalled(association: api.AssociationView) -> str | None:
    """Why, and what to do about it."""
    meaning = meaning_of("euicc.stalled", {"reason": association.stalled})
    if association.stalled is None or meaning is None:
        return association.stalled
    return f"{association.stalled}: {meaning.means}. Next: {meaning.next_step}"


def _happened(event: api.EventView) -> str:
    if event.kind == "euicc.drift":
        said = _drift(event.data.get("differences"))
    else:
        said = ", ".join(f"{name} {value}" for name, value in event.data.items() if value is not None)
    return f"{event.at.astimezone():%Y-%m-%d %H:%M:%S} {event.kind}" + (f": {said}" if said else "")


for _command in (import_file, imported, convert, unknown, timeline, trace, barred, quarantine, release):
    devices.add_command(_command)
