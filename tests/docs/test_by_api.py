"""docs/by-api.md is run as it is written, behind the first three sections of the page that sets the server up."""

import shutil
from pathlib import Path

import pytest

from tests.docs.shell import DOCS, blocks_of, environment_in, follow


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page calls by curl, which is not here")
def test_the_page_can_be_followed_to_its_end_without_a_command_of_ours(tmp_path: Path, data: Path) -> None:
    set_up = blocks_of((DOCS / "your-own-device.md").read_text().partition("\n## 4.")[0])
    blocks = blocks_of((DOCS / "by-api.md").read_text())
    ours = [line for block in blocks for line in block.splitlines() if line.startswith("eim ")]
    assert all(line.startswith("eim sim ") for line in ours)
    said = follow([*set_up, *blocks], tmp_path, environment_in(data))
    assert said.count('"eids":["89990017000000000000000000000190"]') == 2
    assert '"records":5,"accepted":4,"refused":1' in said
    assert '"service_provider":"Carrier A"' in said
    assert '"confirm":null' in said
    assert '"reasons":{"ok":4,"rolledBack":1}' in said
    assert '"type":"eim.operation.' in said
    assert '"next_step":"check coverage' in said
    assert "rolled_back=1 twice=0 conflicting=0 repeated=0" in said.splitlines()[-1]
