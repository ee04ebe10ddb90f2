"""A run is held against a stored one by its ratios."""

from pathlib import Path

import pytest

from bench import _results, compare
from bench._records import BARS, Record


def figure(name: str, ratio: float) -> Record:
    bar = BARS[name]
    return Record(name, bar.path, 10.0, 10.0 * ratio, ratio, bar.gate, bar.target, bar.unit, "here")


def stored(folder: Path, name: str, *records: Record) -> str:
    path = folder / f"{name}.json"
    _results.write(path, records)
    return str(path)


def test_a_ratio_that_fell_by_less_than_the_slack_is_no_regression(tmp_path: Path) -> None:
    old = stored(tmp_path, "old", figure("result", 0.5))
    assert compare.main([old, stored(tmp_path, "new", figure("result", 0.41))]) == 0


def test_a_ratio_that_fell_by_more_than_the_slack_fails_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = stored(tmp_path, "old", figure("result", 0.5), figure("door", 20))
    new = stored(tmp_path, "new", figure("result", 0.39), figure("door", 30))
    assert compare.main([old, new]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"worse by more than 20%, or missing: {BARS['result'].path}"]
    assert [line.split()[-1] for line in said.out.splitlines()[1:]] == ["1.5", "worse"]


def test_the_slack_can_be_set(tmp_path: Path) -> None:
    old, new = stored(tmp_path, "old", figure("result", 0.5)), stored(tmp_path, "new", figure("result", 0.39))
    assert compare.main([old, new, "--slack", "0.25"]) == 0
    assert compare.main([old, new, "--slack", "0.2"]) == 1


def test_a_figure_that_is_gone_fails_and_a_new_one_does_not(tmp_path: Path) -> None:
    both = stored(tmp_path, "both", figure("result", 0.5), figure("door", 20))
    one = stored(tmp_path, "one", figure("door", 20))
    assert compare.main([both, one]) == 1
    assert compare.main([one, both]) == 0
