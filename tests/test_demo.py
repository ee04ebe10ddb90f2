"""The demo's last word: it ends with 0 only when the eIM's sums and the cards' journals agree."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from eim import api
from eim.demo_sums import Sums, add_up
from eim.domain.ids import format_eid
from eim.sim.fleet import CARRIER_A, CARRIER_B, Fleet, Make
from eim.sim.journal import Journal, check
from eim.sim.pki import Pki


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.xdist_group("serving")
def test_the_demo_moves_a_small_fleet_and_ends_with_sums_that_agree(tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("EIM_")}
    environment |= {"TMPDIR": str(tmp_path), "COLUMNS": "100"}
    command = [sys.executable, "-m", "eim", "demo", "--devices", "25"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-1]
    assert re.fullmatch(r"demo: devices=25 switched=24 rolled_back=1 waiting=0 lost=0 twice=0 seconds=\d+\.\d", last), (
        last
    )
    assert not list(tmp_path.glob("eim-demo-*"))  # it leaves nothing behind


def view(eid: str, state: str, reason: str) -> api.OperationView:
    return api.OperationView(
        id=uuid4(),
        eid=eid,
        order=uuid4(),
        operation="enable",
        iccid=None,
        rollback=True,
        priority=100,
        state=state,  # type: ignore[arg-type]
        doubt=None,
        outcome={"reason": reason},
        ordered_by="token:demo",
        created_at=now(),
        not_before=now(),
        expires_at=None,
        handed_at=None,
        ended_at=None,
    )


def sums(*stands: tuple[str, str, str]) -> Sums:
    """The sums of a fleet whose cards never did anything, for (state, reason, believed carrier) of each."""
    fleet = Fleet(Pki.new(), len(stands), Journal(now), Make(cannot_attach=0, sleepers=0))
    eids = [format_eid(card.euicc.eid) for card in fleet.cards]
    operations = [view(eid, state, reason) for eid, (state, reason, _) in zip(eids, stands, strict=True)]
    believed = {eid: carrier for eid, (_, _, carrier) in zip(eids, stands, strict=True)}
    return add_up(operations, believed, check(fleet.journal.entries), fleet)


def test_cards_that_wait_on_their_old_carrier_agree() -> None:
    assert sums(("sealed", "", CARRIER_A), ("accepted", "", CARRIER_A)).agree


@pytest.mark.parametrize(
    "stand",
    [
        pytest.param(("done", "ok", CARRIER_B), id="said to be switched, but the card did nothing"),
        pytest.param(("sealed", "", CARRIER_B), id="believed to be elsewhere"),
        pytest.param(("failed", "rolledBack", CARRIER_A), id="said to have rolled back, but never did"),
        pytest.param(("failed", "catBusy", CARRIER_A), id="failed for another reason"),
        pytest.param(("expired", "expired", CARRIER_A), id="lost: ended without an end that counts"),
    ],
)
def test_what_the_journals_contradict_does_not_agree(stand: tuple[str, str, str]) -> None:
    assert not sums(stand, ("sealed", "", CARRIER_A)).agree
