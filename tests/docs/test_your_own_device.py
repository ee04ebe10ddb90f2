"""docs/your-own-device.md is run as it is written."""

import shutil
from pathlib import Path

from tests.docs.shell import DOCS, blocks_of, environment_in, follow


def test_the_page_can_be_followed_to_its_end(tmp_path: Path, data: Path) -> None:
    blocks = blocks_of((DOCS / "your-own-device.md").read_text())
    if shutil.which("curl") is None:
        blocks = [block for block in blocks if "curl" not in block]
    said = follow(blocks, tmp_path, environment_in(data))
    assert "Carrier A" in said
    assert "euicc.proven" in said
    assert "not all were done" in said
    assert "rolledBack" in said
    assert "issued by a CI that is not configured" in said
    assert "rolled_back=1 twice=0 conflicting=0 repeated=0" in said.splitlines()[-1]
