"""The tables and charts of docs/performance.md are those of the newest stored run."""

import re
from typing import Final

import pytest

from bench import _results
from bench._records import BARS, Cost, Record
from docs import make_performance

_RUNS: Final = sorted(path.stem for path in _results.RESULTS.glob("20??-??-??.json"))


@pytest.mark.parametrize("run", _RUNS[-1:])
def test_the_page_says_what_the_newest_stored_run_says(run: str) -> None:
    text = make_performance.PAGE.read_text()
    assert make_performance.page(text, make_performance.blocks(run)) == text
    for name, drawn in make_performance.charts(run).items():
        assert (make_performance.PICTURES / name).read_text() == drawn


def test_every_picture_of_the_page_is_there() -> None:
    pictures = re.findall(r"\(pictures/(.+?)\)", make_performance.PAGE.read_text())
    assert pictures
    assert [name for name in pictures if not (make_performance.PICTURES / name).exists()] == []


def test_a_block_takes_the_place_of_the_one_before() -> None:
    text = "before\n<!-- figures: made -->\nold\n<!-- end -->\nafter\n"
    once = make_performance.page(text, {"figures": "| new |"})
    assert once == "before\n<!-- figures: made -->\n\n| new |\n\n<!-- end -->\nafter\n"
    assert make_performance.page(once, {"figures": "| new |"}) == once


def test_a_page_without_a_place_for_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for figures"):
        make_performance.page("nothing here", {"figures": ""})


def test_the_table_shows_a_figure_beside_its_bars() -> None:
    bar = BARS["poll_http"]
    record = Record("poll_http", bar.path, 12.0, 9.0, 0.75, bar.gate, bar.target, bar.unit, "")
    assert (
        make_performance.figures([record]).splitlines()[-1]
        == f"| {bar.path} | 12 us CPU | 9 us CPU | **0.75** | 0.6 | 0.8 | gate |"
    )


def test_the_capacity_table_has_a_row_for_each_way_to_connect_that_was_measured() -> None:
    costs = [Cost("poll_tls", 15, 5, ""), Cost("cycle", 200, 400, ""), Cost("idle_connection", 30, 0, "")]
    rows = make_performance.capacity_table(costs).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["kept alive"] * 4
