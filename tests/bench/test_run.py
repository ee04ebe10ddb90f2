"""The runner keeps to its time, says how far it is, and stores what came out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import _results, _run
from bench._short import LONG, SHORT, Step

_KEEPS: str = """
from bench import _records
_records.record("door", 10.0, 120.0, 12.0, "toy")
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes a benchmark of a name and its source, in a folder of its own beside the modules that all share."""
    folder = tmp_path / "bench"
    folder.mkdir()
    for file in Path(_run.__file__).parent.glob("_*.py"):
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(_run, "ROOT", tmp_path)
    monkeypatch.setattr(_results, "RESULTS", folder / "results")

    def make(name: str, source: str) -> None:
        (folder / f"{name}.py").write_text(source)

    return make


def test_a_named_benchmark_runs_with_its_options_and_its_figure_is_shown(
    toy: Callable[[str, str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    toy("one", _KEEPS + "import sys\nprint('asked', *sys.argv[1:], flush=True)\n")
    assert _run.main(["one", "--rounds", "3"]) == 0
    said = capfd.readouterr()
    assert "asked --rounds 3" in said.out
    assert said.out.splitlines()[-1].endswith("gate")
    assert not _results.RESULTS.exists()


def test_the_whole_set_is_stored_and_misses_are_said(
    toy: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    toy("one", _KEEPS)
    toy("two", "raise SystemExit(3)")
    monkeypatch.setattr(_run, "SHORT", (Step("one", (), 1), Step("two", (), 1)))
    assert _run.main(["--store", "kept"]) == 1
    said = capfd.readouterr().err
    assert "[1/2] one about 1 s; about 2 s left in all" in said
    assert "two ended with 3" in said
    assert "no figure of: full cycle" in said
    for name in ("latest", "kept"):
        assert [record["name"] for record in json.loads((_results.RESULTS / f"{name}.json").read_text())] == ["door"]


def test_what_does_not_fit_into_the_time_is_left_out_and_what_takes_too_long_is_stopped(
    toy: Callable[[str, str], None],
) -> None:
    toy("slow", "import time\ntime.sleep(60)")
    toy("one", _KEEPS)
    found, wrong = _run.run([Step("slow", (), 1), Step("one", (), 1)], 2.0)
    assert not found
    assert wrong[0].startswith("slow ended with ")
    assert wrong[1] == "one was left out: too little of the time is left"


def test_the_short_set_is_meant_to_end_well_within_its_time() -> None:
    assert sum(step.seconds for step in SHORT) < 0.9 * _run.BUDGET_S
    assert [step.name for step in LONG] == [step.name for step in SHORT]
