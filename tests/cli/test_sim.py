import asyncio
import csv
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from eim.cli.imports import read_targets
from eim.cli.sim import sim
from eim.domain.ids import parse_iccid
from eim.errors import BadConfiguration
from eim.sim.journal import check, read_journal
from tests.sim.hand import HandEim
from tests.sim.server import HandServer, serving

_RUN = "import sys; from eim.cli.sim import sim; sim(sys.argv[1:])"


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
