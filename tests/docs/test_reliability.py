"""The table of reliability tests names tests that are there."""

import re
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_NAMED: Final = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")


def test_every_test_that_the_page_names_exists_and_every_row_names_one() -> None:
    page = (_ROOT / "docs" / "reliability.md").read_text()
    rows = [line for line in page.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 30
    for row in rows:
        named = _NAMED.findall(row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (_ROOT / file).read_text(), f"{file} has no {test}"


def test_the_page_has_every_number_that_a_test_says_it_shows() -> None:
    page = (_ROOT / "docs" / "reliability.md").read_text()
    listed = {number for row in re.findall(r"^\| (\d[\d, ]*) \|", page, re.MULTILINE) for number in row.split(", ")}
    said = set()
    for file in (_ROOT / "tests").rglob("test_*.py"):
        for numbers in re.findall(r'"""Reliability (\d+(?:, \d+)*)', file.read_text()):
            said |= set(numbers.split(", "))
    assert said <= listed, sorted(said - listed)
