"""Whether what the eIM says happened is what the cards did: the demo's last word."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table

from eim import api
from eim.domain.ids import format_eid, format_iccid
from eim.sim.fleet import CARRIER_A, CARRIER_B, Card, Fleet
from eim.sim.journal import Report

_WAITING: Final = ("accepted", "sealed", "out", "in_doubt")


class Sums(msgspec.Struct, frozen=True):
    """Each device is in one of the first four; the last three must be 0."""

    devices: int
    switched: int
    rolled_back: int
    failed: int  # for another reason than a rollback
    waiting: int
    lost: int  # devices without any end and not waiting
    twice: int  # packages executed twice, or one counter with two octet strings
    differing: int  # devices whose card is not where the eIM says

    @property
    def agree(self) -> bool:
        """Whether all adds up and the journals say the same."""
        whole = self.switched + self.rolled_back + self.failed + self.waiting == self.devices
        return whole and not (self.lost or self.twice or self.differing or self.failed)

    def table(self) -> Table:
        table = Table(title="the fleet changed carrier", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        table.add_column("")
        table.add_column("devices", justify="right")
        table.add_column("")
        table.add_row("switched", f"{self.switched:,}", "the card signed it, and its journal agrees")
        table.add_row("rolled back", f"{self.rolled_back:,}", "no network took it on Carrier B: back on Carrier A")
        if self.failed:
            table.add_row("failed", f"{self.failed:,}", "for another reason: eim operations list --state failed")
        table.add_row("still waiting", f"{self.waiting:,}", "asleep; its signed package waits for the next call")
        table.add_row("all", f"{self.devices:,}", "", end_section=True)
        if self.differing:
            table.add_row("differing", f"{self.differing:,}", "the card is not where the eIM says it is")
        return table

    def line(self, seconds: float) -> str:
        """For machines; the last line of the demo."""
        return (
            f"demo: devices={self.devices} switched={self.switched} rolled_back={self.rolled_back} "
            f"waiting={self.waiting} lost={self.lost} twice={self.twice} seconds={seconds:.1f}"
        )


def add_up(
    operations: Sequence[api.OperationView], believed: Mapping[str, str | None], journal: Report, fleet: Fleet
) -> Sums:
    """The sums of the switch, device by device.

    believed  EID to the service provider of the profile that the eIM holds to be enabled
    """
    switched = {o.eid for o in operations if o.state == "done"}
    rolled_back = {o.eid for o in operations if o.state == "failed" and _reason(o) == "rolledBack"}
    failed = {o.eid for o in operations if o.state == "failed"} - rolled_back
    waiting = {o.eid for o in operations if o.state in _WAITING}
    eids = {format_eid(card.euicc.eid) for card in fleet.cards}
    return Sums(
        devices=len(eids),
        switched=len(switched),
        rolled_back=len(rolled_back),
        failed=len(failed),
        waiting=len(waiting),
        lost=len(eids - switched - rolled_back - failed - waiting),
        twice=len(journal.twice) + len(journal.conflicting) + len(journal.repeated),
        differing=sum(_differs(card, believed, journal, switched, rolled_back) for card in fleet.cards),
    )


def _differs(
    card: Card, believed: Mapping[str, str | None], journal: Report, switched: set[str], rolled_back: set[str]
) -> bool:
    """Whether the card's journal contradicts the operation's end, or what the eIM believes of the card."""
    eid = format_eid(card.euicc.eid)
    on_b = journal.enabled.get(eid) == format_iccid(card.profile_b)
    if believed.get(eid) != (CARRIER_B if on_b else CARRIER_A):
        return True
    return on_b != (eid in switched) or (eid in rolled_back and eid not in journal.taken_back)


def _reason(operation: api.OperationView) -> str:
    return str((operation.outcome or {}).get("reason"))
