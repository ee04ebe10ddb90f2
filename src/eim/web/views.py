"""What services know, in the words of the interface: EIDs and ICCIDs as text, octets as hex."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from eim import api
from eim.domain import device, standing
from eim.domain.euicc import Eim
from eim.domain.explanations import REASONS
from eim.domain.guards import Ppr, has_rule
from eim.domain.ids import format_eid, format_iccid
from eim.domain.standing import Standing
from eim.services.lines import Problem
from eim.services.operations import Accepted, Chained
from eim.services.orders import Progress, Spread
from eim.services.previewing import Preview
from eim.store.barring import Bar
from eim.store.euicc_pages import Listed
from eim.store.euiccs import Editable, Head, Seen
from eim.store.events import Happened
from eim.store.operations import Operation
from eim.store.orders import Order
from eim.store.profiles import Found
from eim.web import steps

_ID_TYPES: Final[Mapping[int, Literal["oid", "fqdn", "proprietary"]]] = {1: "oid", 2: "fqdn", 3: "proprietary"}


def bad_lines(problems: tuple[Problem, ...]) -> tuple[api.BadLine, ...]:
    return tuple(api.BadLine(problem.position + 1, problem.text) for problem in problems)


def entry(listed: Listed) -> api.EuiccEntry:
    return api.EuiccEntry(
        eid=format_eid(listed.eid),
        label=listed.label,
        tags=listed.tags,
        service_provider=listed.carrier,
        speaks=listed.speaks,
        created_at=listed.created_at,
        introduced_at=listed.introduced_at,
        last_seen_at=listed.last_seen_at,
        inventory_at=listed.inventory_at,
        group=listed.group,
        time_zone=listed.time_zone,
    )


def euicc(seen: Seen) -> api.EuiccView:
    known = seen.listed
    association = api.AssociationView(
        identity=seen.eim_id,
        counter=seen.counter,
        association_token=seen.association_token,
        token_proven=seen.token_proven,
        signature_form=seen.signature_form,
        signature_coding=seen.signature_coding,
        unverifiable=seen.unverifiable,
        certified=seen.certified,
        curve=seen.curve,
        ci_key_id=_hex(seen.ci_key_id),
        key=seen.key_number,
        next_key=seen.next_key,
        stalled=seen.stalled,
        stalled_at=seen.stalled_at,
        handed_over_at=seen.handed_over_at,
        handover=seen.handover,
    )
    return api.EuiccView(
        etag=Editable(known.label, known.tags, known.group, known.time_zone, seen.unverifiable).version,
        euicc=entry(seen.listed),
        association=association,
        capabilities=seen.capabilities,
        highest_seq_number=seen.highest_seq,
        plmn=_hex(seen.plmn),
        mailbox=_head(seen.head) if seen.head else None,
        notifications=seen.notifications,
        bar=bar(seen.bar) if seen.bar.holds else None,
        ecall_since=seen.ecall_since,
        reset_at=seen.reset_at,
        device=device.named(_text(seen.capabilities.get("deviceInfo"))),
        settings=seen.settings,
        eims=None if seen.eims is None else tuple(map(_eim, seen.eims)),
        eims_at=seen.eims_at,
    )


def bar(found: Bar) -> api.BarView:
    return api.BarView(found.orphaned_at, found.quarantined_at, found.quarantine_why, found.denied_by)


def _eim(eim: Eim) -> api.EimView:
    return api.EimView(eim.eim_id, _ID_TYPES.get(eim.id_type or 0))


def profile(found: Found) -> api.ProfileView:
    known = found.profile
    return api.ProfileView(
        eid=format_eid(found.eid),
        iccid=format_iccid(known.iccid),
        state=known.state.value,
        service_provider=known.service_provider,
        name=known.name,
        nickname=known.nickname,
        profile_class=known.profile_class,
        isdp_aid=_hex(known.isdp_aid),
        fallback=known.fallback,
        changed_at=found.changed_at,
        fallback_allowed=known.fallback_allowed,
        pprs=None if known.ppr is None else tuple(rule.name.lower() for rule in Ppr if has_rule(known, rule)),
    )


def event(happened: Happened) -> api.EventView:
    eid = format_eid(happened.eid) if happened.eid else None
    return api.EventView(happened.id, eid, happened.at, happened.kind, happened.data)


def accepted(done: Accepted) -> api.OrderAccepted:
    placed = tuple(api.PlacedLine(p.position + 1, format_eid(p.eid), p.operation) for p in done.placed)
    return api.OrderAccepted(done.order, done.accepted, placed, bad_lines(done.problems), done.cards)


def chained(done: Chained) -> api.ChainAccepted:
    return api.ChainAccepted(tuple(map(accepted, done.steps)))


def preview(looked: Preview) -> api.OrderPreview:
    return api.OrderPreview(
        lines=looked.lines,
        operations=looked.operations,
        carriers=looked.carriers,
        already=looked.already,
        queued=looked.queued,
        refused=looked.refused,
        examples=tuple(map(format_eid, looked.examples)),
        bad_lines=bad_lines(looked.problems),
        confirm=looked.confirm,
        looked_at=looked.looked_at,
    )


def operation(found: Operation) -> api.OperationView:
    stands = standing.explain(_standing(found), datetime.now(UTC))
    return api.OperationView(
        id=found.id,
        eid=format_eid(found.eid),
        order=found.order_id,
        operation=found.kind.value,
        iccid=format_iccid(found.iccid) if found.iccid else None,
        rollback=found.rollback,
        priority=found.priority,
        state=found.state.value,
        doubt=found.doubt,
        outcome=found.outcome,
        ordered_by=found.ordered_by,
        created_at=found.created_at,
        not_before=found.not_before,
        expires_at=found.expires_at,
        handed_at=found.handed_at,
        ended_at=found.ended_at,
        after=found.after,
        after_event=found.after_event,
        waits_for=found.held.value if found.held else None,
        window=found.opening,
        closes_at=found.closes_at,
        retries=found.retries,
        attempts=found.attempts,
        parked=found.parked,
        means=stands.means,
        next_step=stands.next_step,
        steps=tuple(map(steps.said, found.steps)),
        meanings=_meanings(found),
    )


def _standing(found: Operation) -> Standing:
    return Standing(
        id=found.id,
        state=found.state,
        not_before=found.not_before,
        held=found.held,
        after=found.after,
        after_event=found.after_event,
        window=found.opening,
        attempts=found.attempts,
        parked=found.parked,
        doubt=found.doubt,
        outcome=found.outcome or {},
        handed_at=found.handed_at,
    )


def _meanings(found: Operation) -> dict[str, api.MeaningView]:
    """What the reasons in its outcome mean, those of its steps too."""
    outcome = found.outcome or {}
    ended = outcome.get("steps")
    each_step = ended if isinstance(ended, list) else []
    reasons = [outcome.get("reason"), found.doubt, *(each.get("reason") for each in each_step)]
    known = ((reason, REASONS[reason]) for reason in reasons if isinstance(reason, str) and reason in REASONS)
    return {reason: api.MeaningView(it.means, it.owner, it.next_step) for reason, it in known}


def order(progress: Progress) -> api.OrderView:
    placed = progress.order
    return api.OrderView(
        id=placed.id,
        operation=placed.kind.value,
        size=progress.size,
        ordered_by=placed.ordered_by,
        created_at=placed.created_at,
        states={state.value: many for state, many in progress.by_state().items()},
        reasons=progress.by_reason(),
        oldest_waiting=progress.oldest_waiting(),
        spread=_spread(placed, progress.spread) if progress.spread is not None else None,
        withdrawn_at=placed.withdrawn_at,
        recalled_at=placed.recalled_at,
    )


def _spread(order: Order, found: Spread) -> api.SpreadView:
    return api.SpreadView(
        cards=found.cards,
        looked_at=found.looked_at,
        refused=found.refused,
        refusals=tuple(api.RefusedCard(each.eid, each.code, each.text) for each in found.problems),
        seconds_left=found.seconds_left(order, datetime.now(UTC)),
        stopped_at=order.stopped_at,
        finished_at=order.spread_at,
    )


def _head(head: Head) -> api.HeadView:
    return api.HeadView(head.operation, head.counter, head.handed_at, head.deliveries)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _hex(octets: bytes | None) -> str | None:
    return octets.hex().upper() if octets is not None else None
