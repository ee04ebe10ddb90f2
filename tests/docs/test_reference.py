"""Pages that are made of the code say what the code says."""

import subprocess
import sys
from pathlib import Path
from typing import Final

_MAKER: Final = Path(__file__).parents[2] / "docs" / "make_reference.py"


def test_the_pages_of_commands_calls_and_errors_are_current() -> None:
    checked = subprocess.run([sys.executable, str(_MAKER), "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"run: python docs/make_reference.py\n{checked.stderr}"


def test_links_between_pages_lead_somewhere() -> None:
    root = _MAKER.parents[1]
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        for target in _links(page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _links(text: str) -> list[str]:
    targets = [part.partition(")")[0].partition("#")[0] for part in text.split("](")[1:]]
    return [target for target in targets if target and not target.startswith("http")]
