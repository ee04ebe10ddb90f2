import asyncio
import csv
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from eim.cli.imports import read_targets
from eim.cli.sim import sim
from eim.domain.ids import parse_iccid
from eim.errors import BadConfiguration
from eim.sim.journal import check, read_journal
from eim.sim.pki import EIN
from tests.sim.hand import HandEim
from tests.sim.server import HandServer, serving

_RUN = "import sys; from eim.cli.sim import sim; sim(sys.argv[1:])"


class Called(HandServer):
    """Says when somebody called."""

    def __init__(self) -> None:
        super().__init__()
        self.called = asyncio.Event()

    def answer(self, body: bytes) -> tuple[int, bytes]:
        self.called.set()
        return super().answer(body)


async def test_a_fleet_calls_a_server_and_leaves_what_onboarding_needs(tmp_path: Path) -> None:
    config, journal = tmp_path / "eim.hex", tmp_path / "journal.ndjson"
    config.write_text(HandEim.new().configuration().hex())
    server = HandServer()
    async with serving(tmp_path, server) as line:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _RUN, "fleet", "--devices", "5", "--seconds", "2", "--ramp", "0.2"),
            *("--server", f"https://127.0.0.1:{line._server.port}", "--eim-config", str(config)),
            *("--ca", str(tmp_path / "ca.pem"), "--export", str(tmp_path / "out"), "--journal", str(journal)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0
    last = output.decode().splitlines()[-1]
    assert last == "journal: devices=5 received=0 executed=0 rolled_back=0 twice=0 conflicting=0 repeated=0"
    assert server.polls >= 5
    assert check(read_journal(journal)).cards == 5
    onboarded = list(csv.DictReader((tmp_path / "out" / "cards.csv").read_text().splitlines()))
    ordered = read_targets(tmp_path / "out" / "switch.csv")
    assert [entry["eid"] for entry in onboarded] == [eid for eid, _ in ordered]
    assert len({parse_iccid(iccid or "") for _, iccid in ordered}) == 5
    assert (tmp_path / "out" / "roots.pem").read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")


async def test_a_running_fleet_is_told_what_to_do_and_its_cards_show_what_they_are(tmp_path: Path) -> None:
    config, journal, control = tmp_path / "eim.hex", tmp_path / "journal.ndjson", tmp_path / "control"
    config.write_text(HandEim.new().configuration().hex())
    control.write_text("* newDevice=35000000\n")  # of another run
    server = Called()
    async with serving(tmp_path, server) as line:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _RUN, "fleet", "--devices", "2", "--seconds", "4", "--ramp", "0.1"),
            *("--interval", "0.3", "--curve", "brainpoolP256r1", "--tell", "1 stateChange=fallback"),
            *("--server", f"https://127.0.0.1:{line._server.port}", "--eim-config", str(config)),
            *("--ca", str(tmp_path / "ca.pem"), "--journal", str(journal), "--control", str(control)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            await server.called.wait()
        told = CliRunner().invoke(sim, ["tell", str(control), "2", "install=89990030000000000018", "fallBack"])
        control.open("a").write("7 obey\n")
        _, said = await process.communicate()
    assert (told.exit_code, process.returncode) == (0, 0)
    assert any(bytes.fromhex("8000810101") in poll for poll in server.polled)
    assert b"fallBack: the card refuses with code 6" in said
    assert b"no device is called '7'" in said
    shown = CliRunner().invoke(sim, ["cards", str(journal)]).output
    first, second = re.split(rf"^{EIN}\d+$", shown, flags=re.MULTILINE)[1:]
    assert "89990030000000000018 disabled" in second
    assert "89990030000000000018" not in first
    assert "last     fallBack 6" in second
    assert "eIM      eim.example.com" in first


def test_what_can_be_told_is_listed_and_what_cannot_is_refused_before_it_is_written(tmp_path: Path) -> None:
    listed = CliRunner().invoke(sim, ["behaviours"]).output
    assert "refuse=WHAT/CODE[*TIMES]" in listed
    assert "unsetFallbackAttribute" in listed
    control = tmp_path / "control"
    control.touch()
    refused = CliRunner().invoke(sim, ["tell", str(control), "1", "fallBack", "fallBakc"])
    assert isinstance(refused.exception, BadConfiguration)
    assert control.read_text() == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--server", "http://127.0.0.1:1"], "write https://host:port"),
        (["--server", "https://127.0.0.1:1", "--prefix", "8904"], "let --prefix begin so"),
        (["--server", "https://127.0.0.1:1", "--journal", "/nowhere/j"], "no journal can be written"),
    ],
)
def test_options_that_cannot_be_used_are_refused_with_a_sentence(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    config, ca = tmp_path / "eim.bin", tmp_path / "ca.pem"
    config.write_bytes(HandEim.new().configuration())
    ca.write_text("")
    result = CliRunner().invoke(sim, ["fleet", "--eim-config", str(config), "--ca", str(ca), *options])
    assert isinstance(result.exception, BadConfiguration)
    assert sentence in str(result.exception)
