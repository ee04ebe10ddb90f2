"""The gate says what fell, and only after it was measured again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import _gate, _run
from bench._gate import CHECKS, Check
from bench._records import BARS
from bench._short import Step

_SOURCE = """
from pathlib import Path
from bench import _records
tries = Path(__file__).with_name("tries")
before = tries.read_text() if tries.exists() else ""
tries.write_text(before + "x")
ratio = {ratios}[len(before)]
_records.record("door", 10.0, 10.0 * ratio, ratio, "toy")
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    folder = tmp_path / "bench"
    folder.mkdir()
    for file in Path(_run.__file__).parent.glob("_*.py"):
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(_run, "ROOT", tmp_path)

    def make(*ratios: float) -> Path:
        (folder / "toy.py").write_text(_SOURCE.format(ratios=list(ratios)))
        return folder / "tries"

    return make


_CHECK = Check(Step("toy", (), 1), {"door": 5.0})


def test_a_ratio_that_holds_is_measured_once(toy: Callable[..., Path]) -> None:
    tries = toy(5.0)
    assert _gate.main([_CHECK]) == 0
    assert tries.read_text() == "x"


def test_a_ratio_that_fell_once_has_a_second_try(toy: Callable[..., Path]) -> None:
    tries = toy(4.9, 5.1)
    assert _gate.main([_CHECK]) == 0
    assert tries.read_text() == "xx"


def test_a_ratio_that_fell_twice_fails_with_a_sentence(
    toy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    toy(4.0, 4.5)
    assert _gate.main([_CHECK]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gate: ")]
    assert said == [
        f"gate: {BARS['door'].path}: the ratio is 4.50, and must not be below 5 (10 us CPU; baseline 45 us CPU)"
    ]


def test_a_benchmark_that_fails_fails_the_gate(toy: Callable[..., Path]) -> None:
    toy()  # its list of ratios is empty
    assert _gate.main([_CHECK]) == 1


def test_every_least_is_of_a_figure_and_leaves_slack_below_its_gate() -> None:
    least = {name: bar for check in CHECKS for name, bar in check.least.items()}
    assert all(bar < BARS[name].gate for name, bar in least.items())
