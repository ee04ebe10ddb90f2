"""What a fleet needs follows from what one of something costs, by arithmetic that can be done by hand."""

from pathlib import Path

import pytest

from bench import _results, capacity
from bench._records import Cost
from bench._sizing import Costs, Curve, Fleet, Machines, Prices, Tls, campaign, need, visit

_COSTS = (
    Cost("poll_tls", 15.0, 5.0, ""),
    Cost("poll_new", 600.0, 5.0, ""),
    Cost("cycle", 215.0, 405.0, ""),
    Cost("idle_connection", 32.0, 0.0, ""),
    Cost("order", 10.0, 20.0, ""),
    Cost("seal", 40.0, 30.0, ""),
    Cost("stored_euicc", 0.0, 2.0, ""),
    Cost("hot_euicc", 0.0, 0.5, ""),
    Cost("stored_cycle", 0.0, 4.0, ""),
    Cost("verify_p256", 60.0, 0.0, ""),
    Cost("sign_p256", 20.0, 0.0, ""),
    Cost("verify_brainpool", 400.0, 0.0, ""),
    Cost("sign_brainpool", 410.0, 0.0, ""),
)
_HOURLY = Fleet(10_000_000, 3600, 0.0, surge=0.0)
_WHOLE = Machines(load=1.0, process=0.0, database=0.0, keep=100.0)
_FREE = Prices(0, 0, 0)


def test_a_visit_without_work_costs_its_connection_and_its_poll() -> None:
    assert visit(Costs(_COSTS), Tls.NEW_13, _HOURLY) == (600.0, 5.0)


def test_work_costs_a_cycle_less_the_poll_that_is_in_both() -> None:
    working = Fleet(1, 1, 0.1)
    server, postgres = visit(Costs(_COSTS), Tls.NEW_13, working)
    assert server == pytest.approx(600 + 0.1 * (215 - 15))
    assert postgres == pytest.approx(5 + 0.1 * (405 - 5))


def test_the_other_curve_costs_its_signature_and_its_verification_more() -> None:
    server, _ = visit(Costs(_COSTS), Tls.KEPT_ALIVE, Fleet(1, 1, 1.0, Curve.BRAINPOOL))
    assert server == pytest.approx(215 + (400 + 410) - (60 + 20))


def test_cores_are_those_of_the_peak_at_the_load_that_is_allowed() -> None:
    found = need(Costs(_COSTS), Tls.NEW_13, _HOURLY, Machines(load=0.5, process=0, database=0), _FREE)
    assert found.visits == pytest.approx(2777.8, rel=1e-4)
    assert found.busiest == pytest.approx(8333.3, rel=1e-4)
    assert found.server == pytest.approx(8333.3 * 600e-6 / 0.5, rel=1e-4)
    assert found.postgres == pytest.approx(8333.3 * 5e-6 / 0.5, rel=1e-4)


def test_a_power_cut_counts_when_it_is_more_than_the_peak() -> None:
    cut = Fleet(10_000_000, 86_400, 0.0, surge=0.1, window=300)
    assert need(Costs(_COSTS), Tls.NEW_13, cut, _WHOLE, _FREE).busiest == pytest.approx(1e6 / 300)


def test_connections_kept_alive_take_memory_for_every_device_and_others_while_they_stay() -> None:
    kept = need(Costs(_COSTS), Tls.KEPT_ALIVE, _HOURLY, _WHOLE, _FREE).memory
    new = need(Costs(_COSTS), Tls.NEW_13, _HOURLY, _WHOLE, _FREE).memory
    hot = 1e7 * 0.5 / 1024**2
    assert kept == pytest.approx(1e7 * 32 / 1024**2 + hot)
    assert new == pytest.approx(8333.3 * 10 * 32 / 1024**2 + hot, rel=1e-4)


def test_disk_holds_the_eim_s_cards_and_what_cycles_left_in_the_days_that_are_kept() -> None:
    working = Fleet(1_000_000, 86_400, 0.1, surge=0.0)
    found = need(Costs(_COSTS), Tls.NEW_13, working, _WHOLE, _FREE)
    assert found.disk == pytest.approx((1e6 * 2 + 1e6 * 0.1 * 100 * 4) / 1024**2)


def test_money_is_what_all_of_it_costs() -> None:
    found = need(Costs(_COSTS), Tls.NEW_13, _HOURLY, _WHOLE, Prices(20, 3, 0.1))
    assert found.month == pytest.approx(20 * (found.server + found.postgres) + 3 * found.memory + 0.1 * found.disk)


def test_a_campaign_is_its_orders_and_its_seals() -> None:
    assert campaign(Costs(_COSTS), 1_000_000) == pytest.approx((50.0, 50.0))


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_results, "RESULTS", tmp_path)
    _results.store("some", list(_COSTS))
    return tmp_path


def test_the_table_has_a_row_for_each_mode_that_was_measured_and_each_size(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    svg = stored / "drawn.svg"
    assert capacity.main(["--run", "some", "--devices", "1000", "1000000", "--svg", str(svg)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("  ")[0] for row in rows[2:6]] == ["kept alive"] * 2 + ["new, TLS 1.3"] * 2
    assert rows[6].startswith("an order for 1,000, written and sealed: 0 + 0")
    assert svg.read_text().count("<polyline") == 2


def test_one_size_in_one_mode_is_drawn_as_a_bar(stored: Path) -> None:
    svg = stored / "drawn.svg"
    assert capacity.main(["--run", "some", "--devices", "5000", "--tls", "poll_new", "--svg", str(svg)]) == 0
    assert "Cores for 5,000 devices" in svg.read_text()


def test_a_cost_that_nobody_measured_is_named(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _results.store("less", [cost for cost in _COSTS if cost.name not in {"cycle", "sign_p256"}])
    assert capacity.main(["--run", "less", "--curve", "brainpool"]) == 1
    assert capsys.readouterr().err == "capacity: nothing tells what these cost: cycle, sign_p256; see --measure\n"
