"""Each benchmark runs, at a size that says nothing about speed."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
_TINY: Final = ("--rounds", "1", "--operations", "5", "--euiccs", "5")
_LINES: Final = {
    "poll_nothing": ("poll_nothing", "poll_nothing_new", "poll_connection", "poll_service"),
    "poll_package": ("poll_package", "package_service"),
    "result": ("result",),
    "seal": ("seal_1", "seal_100", "seal_1000"),
}


def test_every_benchmark_of_a_service_is_tried_here() -> None:
    own_size = {"tlv", "listing"}  # the one takes its time from the clock, the other is about a million rows
    assert {file.stem for file in (_ROOT / "bench").glob("[!_]*.py")} - own_size == _LINES.keys()


@pytest.mark.parametrize("name", _LINES)
def test_a_benchmark_prints_its_figures_beside_a_baseline(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", *_TINY],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(_LINES[name])
    assert all("x CPU of" in line for line in lines)
