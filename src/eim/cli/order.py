"""`eim order`: ask one eUICC or many for an operation; `eim orders`: what became of it."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from eim import api
from eim.api_steps import PackageSteps
from eim.cli.imports import read_targets
from eim.cli.server import META, MOMENT, Target, keep, say, server_options, table, target_here
from eim.client import Client, ServerRefused
from eim.errors import InvalidRequest

_UNCONFIRMED: Final = "confirmation-needed"
_LOOK_EVERY_S: Final = 1.0
_OPEN: Final[tuple[api.StateName, ...]] = ("accepted", "sealed", "out", "in_doubt")
_TELECOM: Final = "89"  # every ICCID begins so (ITU-T E.118)
_STEPS: Final[dict[str, api.KindName]] = {
    "enable": "enable",
    "disable": "disable",
    "delete": "delete",
    "list-profiles": "listProfileInfo",
    "list-eims": "listEim",
    "rules": "getRAT",
    "set-fallback": "setFallbackAttribute",
    "unset-fallback": "unsetFallbackAttribute",
    "data": "ipaEuiccDataRequest",
    "check": "check",
}
_ON_ERROR: Final[dict[bool, api.OnErrorName]] = {True: "skip", False: "refuse"}  # by --skip

F = TypeVar("F", bound=Callable[..., object])

PROFILE: Final = (
    click.option("--iccid", expose_value=False, callback=keep, help="The profile, by its ICCID."),
    click.option(
        "--service-provider",
        expose_value=False,
        callback=keep,
        help="The profile of this service provider on each card.",
    ),
)
WHICH: Final = (
    click.option("--eid", "eids", multiple=True, expose_value=False, callback=keep, help="An eUICC; may be repeated."),
    click.option("--all", "every", is_flag=True, expose_value=False, callback=keep, help="Every eUICC."),
    click.option("--tag", expose_value=False, callback=keep, help="With --all: only those with this tag."),
    click.option(
        "--file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        expose_value=False,
        callback=keep,
        help="A file with one EID a line, or 'eid,iccid'.",
    ),
    click.option("--urgent", is_flag=True, expose_value=False, callback=keep, help="Before what is ordered normally."),
    click.option(
        "--skip", is_flag=True, expose_value=False, callback=keep, help="Take the good lines, report the bad."
    ),
    click.option(
        "--force",
        "reason",
        metavar="REASON",
        expose_value=False,
        callback=keep,
        help="Overrule the guards, and say why.",
    ),
    click.option("--preview", is_flag=True, expose_value=False, callback=keep, help="Only say how many and which."),
    click.option(
        "--confirm",
        type=click.IntRange(1),
        expose_value=False,
        callback=keep,
        help="How many operations are meant; needed for many. On a terminal you are asked.",
    ),
    click.option(
        "--after",
        type=click.UUID,
        metavar="ID",
        expose_value=False,
        callback=keep,
        help="Only after the success of this operation of the same eUICC.",
    ),
    click.option(
        "--after-event",
        metavar="EVENT",
        expose_value=False,
        callback=keep,
        help="Only after the card called (contact), or after this event of it, as euicc.network_changed.",
    ),
    click.option(
        "--window",
        metavar="WINDOW",
        expose_value=False,
        callback=keep,
        help="When it may go out, by the card's own clock: '22:00-06:00', 'Mon-Fri 22:00-06:00'; or add UTC.",
    ),
    click.option(
        "--expires",
        metavar="SPAN",
        expose_value=False,
        callback=keep,
        help="How long it may wait for the card, as '18 months' or P90D. Default: for ever.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(0, 20),
        expose_value=False,
        callback=keep,
        help="How often it is tried again by itself when the card can't do it now. Default: by the reason.",
    ),
    click.option("--not-before", type=MOMENT, expose_value=False, callback=keep, help="Not before this moment."),
    click.option(
        "--expires-at", type=MOMENT, expose_value=False, callback=keep, help="Not when it is not out by then."
    ),
    click.option("--wait", is_flag=True, expose_value=False, callback=keep, help="Wait until every operation ended."),
)


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def order() -> None:
    """Ask one eUICC or many for an operation."""


@order.command()
@with_options(*PROFILE, *WHICH)
@click.option("--rollback/--no-rollback", default=True, show_default=True, help="Go back when it can't attach.")
@server_options
def enable(*, rollback: bool) -> None:
    """Enable a profile; the one enabled before is disabled by it."""
    place(asked_for("enable", rollback))


@order.command()
@with_options(*PROFILE, *WHICH)
@server_options
def disable() -> None:
    """Disable a profile."""
    place(asked_for("disable"))


@order.command()
@with_options(*PROFILE, *WHICH)
@server_options
def delete() -> None:
    """Delete a profile for good."""
    place(asked_for("delete"))


@order.command("chain")
@click.option("--eid", "eids", multiple=True, required=True, help="An eUICC; may be repeated.")
@click.option(
    "--step",
    "steps",
    multiple=True,
    required=True,
    metavar="STEP",
    help="In order, as 'enable 8988211000000000002', 'list-profiles after contact', 'delete Carrier A'.",
)
@click.option("--urgent", is_flag=True, help="Before what is ordered normally.")
@click.option("--force", "reason", metavar="REASON", help="Overrule the guards, and say why.")
@click.option("--confirm", type=click.IntRange(1), help="How many operations are meant, of all steps; needed for many.")
@server_options
def chain(
    *, eids: tuple[str, ...], steps: tuple[str, ...], urgent: bool, reason: str | None, confirm: int | None
) -> None:
    """Order operations that come one after the other: each only after the success of the one before it.

    A step is an operation, the profile by its ICCID or service provider, and what has to happen before it.
    """
    target = target_here()
    new = api.NewChain(
        eids=eids,
        steps=tuple(map(_step, steps)),
        priority="urgent" if urgent else "normal",
        force=reason is not None,
        reason=reason,
        confirm=confirm,
    )
    placed = target.run(lambda client: client.order_chain(new))
    say(target, placed, lambda: "\n".join(map(_placed, placed.steps)))


@click.group()
def orders() -> None:
    """See what became of orders, stop them, take them back."""


@orders.command()
@click.argument("order", type=click.UUID, metavar="ID")
@click.option("--watch", is_flag=True, help="Look again every second until every operation ended.")
@server_options
def show(order: UUID, *, watch: bool) -> None:
    """Show how the operations of an order stand."""
    target = target_here()
    stands = target.run(lambda client: _follow(client, target, order) if watch else client.order_progress(order))
    say(target, stands, lambda: _progress(stands))


@orders.command()
@click.argument("order", type=click.UUID, metavar="ID")
@server_options
def stop(order: UUID) -> None:
    """Place nothing more of an order for very many cards; what is placed goes on."""
    target = target_here()
    stands = target.run(lambda client: client.stop_order(order))
    say(target, stands, lambda: _progress(stands))


@orders.command()
@click.argument("order", type=click.UUID, metavar="ID")
@server_options
def withdraw(order: UUID) -> None:
    """Take back all that an order placed; what may be with a card already is cleared up first."""
    target = target_here()
    stands = target.run(lambda client: client.withdraw_order(order))
    say(target, stands, lambda: _progress(stands))


def asked_for(what: api.KindName | PackageSteps, rollback: bool | None = None) -> api.NewOrder:  # noqa: FBT001 - None, on or off, as the API has it
    """The order that the options of the present command describe: an operation by its name, or by its steps."""
    meta = click.get_current_context().meta
    eids, lines = _named(meta[META + "eids"], meta[META + "file"])
    iccid, provider = meta.get(META + "iccid"), meta.get(META + "service_provider")
    reason = meta[META + "reason"]
    after = meta[META + "after"]
    if after is not None and (eids is None or len(eids) != 1):
        raise InvalidRequest("--after names an operation of one eUICC: give its EID with --eid")
    return api.NewOrder(
        operation=what if isinstance(what, str) else None,
        steps=None if isinstance(what, str) else what,
        eids=eids,
        lines=lines,
        all=meta[META + "every"],
        tag=meta[META + "tag"],
        profile=api.ProfileChoice(iccid, provider) if iccid or provider else None,
        rollback=rollback,
        priority="urgent" if meta[META + "urgent"] else "normal",
        on_error=_ON_ERROR[meta[META + "skip"]],
        force=reason is not None,
        reason=reason,
        confirm=meta[META + "confirm"],
        not_before=meta[META + "not_before"],
        expires_at=meta[META + "expires_at"],
        after=after,
        after_event=meta[META + "after_event"],
        window=meta[META + "window"],
        expires_in=meta[META + "expires"],
        retries=meta[META + "retries"],
    )


def _step(text: str) -> api.ChainStep:
    """OPERATION, the profile by ICCID or service provider, and what it comes after."""
    what, _, event = text.partition(" after ")
    word, _, profile = what.strip().partition(" ")
    if word not in _STEPS:
        raise InvalidRequest(f"a step begins with one of {', '.join(_STEPS)}: {text!r} does not")
    named = profile.strip()
    by_iccid = named.isalnum() and named.startswith(_TELECOM)
    choice = api.ProfileChoice(iccid=named) if by_iccid else api.ProfileChoice(service_provider=named)
    return api.ChainStep(_STEPS[word], profile=choice if named else None, after_event=event.strip() or None)


def _named(eids: tuple[str, ...], file: Path | None) -> tuple[tuple[str, ...] | None, tuple[api.OrderLine, ...] | None]:
    """The EIDs, or the lines with an ICCID each, that the options name."""
    targets = read_targets(file) if file is not None else ()
    if any(iccid is not None for _, iccid in targets):
        if eids or not all(iccid is not None for _, iccid in targets):
            raise InvalidRequest(f"every line of {file} has to name an ICCID, or none")
        return None, tuple(api.OrderLine(eid, iccid) for eid, iccid in targets if iccid is not None)
    named = eids + tuple(eid for eid, _ in targets)
    return named or None, None


def place(new: api.NewOrder) -> None:
    """Order it, tell what was accepted, and wait when asked to. Ends with 1 when what was awaited was not all done."""
    target = target_here()
    if click.get_current_context().meta[META + "preview"]:
        looked = target.run(lambda client: client.preview(new))
        say(target, looked, lambda: _previewed(looked))
        return
    placed = _order(target, new)
    if not click.get_current_context().meta[META + "wait"]:
        say(target, placed, lambda: _placed(placed))
        return
    stands = target.run(lambda client: _follow(client, target, placed.order))
    say(target, stands, lambda: _progress(stands))
    if stands.states["done"] != stands.size:
        sys.exit(1)


def _order(target: Target, new: api.NewOrder) -> api.OrderAccepted:
    """Order it; when the server wants the count of an order for many, a person is shown it and asked."""
    try:
        return target.run(lambda client: client.order(new))
    except ServerRefused as refusal:
        if refusal.problem.code != _UNCONFIRMED:
            raise
    looked = target.run(lambda client: client.preview(new))
    if target.json or not sys.stdin.isatty():
        raise InvalidRequest(
            f"this order is for {looked.operations} operations: see them with --preview, "
            f"then order them with --confirm {looked.operations}"
        )
    click.echo(_previewed(looked), err=True)
    said = click.prompt("How many do you mean? Type the number of operations", type=int, err=True)
    return target.run(lambda client: client.order(msgspec.structs.replace(new, confirm=said)))


def _previewed(looked: api.OrderPreview) -> str:
    told = [f"{looked.operations} operations for {looked.lines} lines"]
    told += [f"  of the first {looked.looked_at} cards:"] * (looked.looked_at is not None)
    told += [f"  now on {carrier}: {many}" for carrier, many in sorted(looked.carriers.items())]
    told += [f"  already so: {looked.already}"] * bool(looked.already)
    told += [f"  with changes waiting: {looked.queued}"] * bool(looked.queued)
    told += [f"  refused, {code}: {many}" for code, many in sorted(looked.refused.items())]
    told += [f"  line {bad.line}: {bad.detail}" for bad in looked.bad_lines]
    told += [f"  for example {', '.join(looked.examples[:3])}"] * bool(looked.examples)
    return "\n".join(told + [f"order it with --confirm {looked.confirm}"] * bool(looked.confirm))


async def _follow(client: Client, target: Target, order: UUID) -> api.OrderView:
    """Look until every operation of the order ended; draw it on the way for a person."""
    stands = await client.order_progress(order)
    quiet = Console(stderr=True, quiet=target.json)
    with Live(_progress(stands), console=quiet, auto_refresh=False, transient=True) as live:
        while _goes_on(stands):
            await asyncio.sleep(_LOOK_EVERY_S)
            stands = await client.order_progress(order)
            live.update(_progress(stands), refresh=True)
    return stands


def _goes_on(stands: api.OrderView) -> bool:
    spreading = stands.spread is not None and stands.spread.finished_at is None
    return spreading or any(stands.states[state] for state in _OPEN)


def _placed(placed: api.OrderAccepted) -> str:
    if placed.cards is not None:
        return f"order {placed.order}: {placed.cards} cards are asked now; see 'eim orders show {placed.order} --watch'"
    told = [f"order {placed.order}: {placed.accepted} accepted; see 'eim orders show {placed.order}'"]
    told += [f"operation {each.operation} for {each.eid}" for each in placed.operations[:20]]
    told += [f"line {bad.line}: {bad.detail}" for bad in placed.bad_lines]
    return "\n".join(told)


def _progress(stands: api.OrderView) -> Table:
    rows: list[tuple[object, object]] = [("order", stands.id), ("operation", stands.operation), ("size", stands.size)]
    rows += [(state, many) for state, many in stands.states.items() if many]
    rows += [(f"because: {reason}", many) for reason, many in stands.reasons.items()]
    rows += _spread(stands.spread) if stands.spread is not None else []
    rows += [("withdrawn", stands.withdrawn_at)] * (stands.withdrawn_at is not None)
    if stands.oldest_waiting is not None:
        rows.append(("waiting since", stands.oldest_waiting))
    return table(("", ""), rows)


def _spread(spread: api.SpreadView) -> list[tuple[object, object]]:
    left = f", {spread.seconds_left} s left" if spread.seconds_left is not None else ""
    rows: list[tuple[object, object]] = [("cards reached", f"{spread.looked_at} of {spread.cards}{left}")]
    rows += [(f"refused, {code}", many) for code, many in spread.refused.items()]
    rows += [(each.eid, each.detail) for each in spread.refusals[:20]]
    return rows + [("stopped", spread.stopped_at)] * (spread.stopped_at is not None)
