"""The examples of `eim decode` in docs/seeing.md print what the page says."""

import re
import shlex
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from eim.cli import main

_PAGE: Final = Path(__file__).parents[2] / "docs" / "seeing.md"
_EXAMPLES: Final = re.findall(r"^```console\n\$ eim (.*?)\n(.*?)^```$", _PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_the_page_has_examples() -> None:
    assert len(_EXAMPLES) >= 4


@pytest.mark.parametrize(("words", "printed"), _EXAMPLES, ids=range(len(_EXAMPLES)))
def test_an_example_prints_what_the_page_says(words: str, printed: str) -> None:
    assert CliRunner().invoke(main, shlex.split(words)).output == printed
