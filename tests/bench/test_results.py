"""Figures are kept, stored and shown as they were found."""

import json
from pathlib import Path

import pytest

from bench import _records, _results
from bench._records import BARS, Record


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kept"
    monkeypatch.setenv(_records.VARIABLE, str(path))
    monkeypatch.setattr(_results, "RESULTS", tmp_path / "results")
    return path


def test_what_was_kept_is_read_again_in_the_order_of_the_table(kept: Path) -> None:
    _records.record("full_cycle", 1700.0, None, 1700.0, "first")
    _records.record("poll_http", 12.0, 9.0, 0.75, "second")
    _records.cost("seal", 60.0, 50.0, "third")
    found = _records.read(kept.read_bytes().splitlines())
    assert [record.name for record in _results.figures(found)] == ["poll_http", "full_cycle"]
    assert [(cost.name, cost.server, cost.postgres) for cost in _results.costs(found)] == [("seal", 60.0, 50.0)]


def test_a_figure_that_was_measured_twice_counts_as_measured_last(kept: Path) -> None:
    _records.record("door", 10.0, 110.0, 11.0, "")
    _records.record("door", 10.0, 120.0, 12.0, "")
    assert [record.ratio for record in _results.figures(_records.read(kept.read_bytes().splitlines()))] == [12.0]


def test_without_the_variable_nothing_is_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(_records.VARIABLE)
    _records.record("door", 10.0, 110.0, 11.0, "")
    assert not kept.exists()


def test_a_stored_run_has_a_record_a_figure_with_its_bars_as_numbers(kept: Path) -> None:
    _records.record("full_cycle", 1700.0, None, 1700.0, "10,000 eUICCs")
    _records.cost("seal", 60.0, 50.0, "")
    path = _results.store("latest", _records.read(kept.read_bytes().splitlines()))
    (record,) = json.loads(path.read_text())
    assert record["path"] == BARS["full_cycle"].path
    assert (record["figure"], record["baseline"], record["ratio"]) == (1700.0, None, 1700.0)
    assert (record["gate"], record["target"], record["conditions"]) == (1600, 4000, "10,000 eUICCs")
    assert _results.load(path)[0].name == "full_cycle"
    assert [cost.name for cost in _results.load_costs(path)] == ["seal"]


@pytest.mark.parametrize(("ratio", "word"), [(0.8, "target"), (0.79, "gate"), (0.6, "gate"), (0.59, "below")])
def test_the_table_says_which_bar_was_reached(ratio: float, word: str) -> None:
    bar = BARS["poll_http"]
    record = Record("poll_http", bar.path, 10.0, None, ratio, bar.gate, bar.target, bar.unit, "")
    assert _results.table([record]).splitlines()[1].split()[-1] == word


def test_every_bar_has_its_gate_below_its_target() -> None:
    assert all(0 < bar.gate < bar.target for bar in BARS.values())
    assert len({bar.path for bar in BARS.values()}) == len(BARS)
