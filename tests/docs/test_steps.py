"""docs/steps.md: its tables are the steps and the codes there are."""

from pathlib import Path

from eim.cli import order_steps
from eim.domain.operation import Kind
from eim.domain.outcome import CODES, PACKAGE_ERRORS, TERMINATED
from eim.domain.step import SINCE

_PAGE = (Path(__file__).parents[2] / "docs" / "steps.md").read_text(encoding="utf-8")


def test_every_step_is_listed_with_its_version_and_a_command_that_is_there() -> None:
    rows = [line.split("|")[1:-1] for line in _PAGE.splitlines() if line.startswith("| `")]
    listed = {row[0].strip(" `"): (row[1].strip(), row[2].strip(" `")) for row in rows if len(row) == 4}
    steps = set(Kind) - {Kind.PACKAGE, Kind.CHECK, Kind.RENEW}  # those are no steps
    assert listed.keys() == {kind.value for kind in steps}
    for kind in steps:
        since, command = listed[kind.value]
        assert since == (SINCE[kind].value if kind in SINCE else "1.0.1")
        assert command in vars(order_steps)["order"].commands


def test_every_code_is_listed_with_its_name() -> None:
    for kind, codes in CODES.items():
        if kind is Kind.RENEW:  # an updateEim of the eIM's own
            continue
        named = ", ".join(f"{number} {name}" for number, name in sorted(codes.items()))
        assert f"| `{kind.value}` | {named or 'none: a list is the answer'} |" in _PAGE
    for codes in (TERMINATED, PACKAGE_ERRORS):
        assert ", ".join(f"{number} {name}" for number, name in sorted(codes.items())) in _PAGE
