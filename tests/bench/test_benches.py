"""Each benchmark runs, at a size that says nothing about speed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bench import _load, _nginx, _records
from bench._records import Cost, Found, Record

_ROOT: Final = Path(__file__).parents[2]
_TINY: Final = ("--rounds", "1", "--operations", "5", "--euiccs", "5")
_LINES: Final = {
    "poll_nothing": ("poll_nothing", "poll_nothing_new", "poll_connection", "poll_service"),
    "poll_package": ("poll_package", "package_service"),
    "result": ("result", "result_alone"),
    "package": ("package_p256", "package_brainpool"),
    "seal": ("seal_1", "seal_100", "seal_1000"),
    "due": ("due_nothing", "due_few", "due_later", "due_taken", "due_no_room"),
    "bulk_order": ("bulk_order",),
    "workers": ("workers_1", "workers_2", "workers_4"),
}


# These say how long a person waits, so they have no baseline.
_AS_SEEN: Final = {"importing": ("500", 1), "listing": ("20000", 29)}  # eUICCs, lines


@pytest.mark.parametrize("name", _AS_SEEN)
def test_a_benchmark_of_waiting_runs(name: str) -> None:
    euiccs, lines = _AS_SEEN[name]
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--rounds", "3", "--operations", "50", "--euiccs", euiccs],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert all(line.startswith(name) for line in said)
    assert len(said) >= lines


def test_every_benchmark_of_a_service_is_tried_here() -> None:
    own_size = {"tlv", "ecdsa"}  # they measure no service
    own_size |= {"compare", "capacity"}  # reads what was measured
    own_size |= {"full_cycle", "mixed", "flames"}  # have no baseline
    own_size |= {"floods", "overload", "tls_handshake", "tls_memory"}  # count connections, beside nginx or a goal
    own_size |= {"poll_door"}  # lasts for seconds, under wrk
    found = {file.stem for file in (_ROOT / "bench").glob("[!_]*.py")} - own_size
    assert found - _AS_SEEN.keys() == _LINES.keys()


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
    assert all("x CPU of" in line or " of verification" in line for line in lines)


def _kept(name: str, folder: Path, *options: str) -> tuple[str, list[Found]]:
    """What a benchmark printed, and what it kept."""
    kept = folder / "kept"
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", *options],
        cwd=_ROOT,
        env=os.environ | {_records.VARIABLE: str(kept)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, _records.read(kept.read_bytes().splitlines())


@pytest.mark.skipif(shutil.which("cc") is None, reason="the loop in C needs a compiler")
def test_signatures_are_held_against_a_loop_in_c_and_their_costs_kept(tmp_path: Path) -> None:
    said, found = _kept("ecdsa", tmp_path, "--rounds", "1", "--operations", "20")
    assert [line.split()[:2] for line in said.splitlines()[:2]] == [["ecdsa", "P-256"], ["ecdsa", "brainpoolP256r1"]]
    assert [each.name for each in found if isinstance(each, Record)] == ["verify_batch", "verify_threads"]
    costs = {each.name: each.server for each in found if isinstance(each, Cost)}
    assert costs["verify_p256"] < costs["verify_brainpool"]
    assert costs["sign_p256"] < costs["sign_brainpool"]


def test_the_codec_is_held_against_asn1tools_in_both_directions(tmp_path: Path) -> None:
    _, found = _kept("tlv", tmp_path, "--rounds", "1", "--operations", "20")
    assert [each.name for each in found] == ["tlv_decode", "tlv_encode"]
    assert all(isinstance(each, Record) and each.ratio > 1 for each in found)


def test_a_full_cycle_runs_through_all_roles_and_keeps_its_figure(tmp_path: Path) -> None:
    said, (figure, spent, *stored) = _kept("full_cycle", tmp_path, *_TINY)
    assert [line.split()[0] for line in said.splitlines()] == ["full_cycle", "full_cycle_disk"]
    assert isinstance(figure, Record)
    assert isinstance(spent, Cost)
    assert 0 < figure.ratio == figure.figure
    assert spent.server > 0
    assert spent.postgres > 0
    assert [cost.name for cost in stored] == ["stored_euicc", "hot_euicc", "stored_cycle", "wal_cycle"]


@pytest.mark.skipif(_load.wrk() is None, reason="wrk is not installed")
def test_the_tail_of_a_mixed_load_is_kept_at_half_of_saturation(tmp_path: Path) -> None:
    said, (figure, poll) = _kept("mixed", tmp_path, "--rounds", "1", "--operations", "1", "--euiccs", "50")
    assert [line.split()[0] for line in said.splitlines()] == ["mixed_50", "mixed_90"]
    assert isinstance(figure, Record)
    assert figure.name == "tail"
    assert isinstance(poll, Cost)
    assert poll.name == "poll_tls"
    assert poll.server > 0
    assert figure.baseline is not None
    assert figure.ratio == pytest.approx(figure.baseline / figure.figure)


def test_the_micro_benchmarks_run(tmp_path: Path) -> None:
    stored = tmp_path / "micro.json"
    options = ["-q", "-n", "0", "-p", "benchmark", "-p", "no:cacheprovider", "--benchmark-max-time=0.001"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "bench/micro", *options, f"--benchmark-json={stored}"],
        env={name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")},  # it runs by itself
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    groups = {each["group"] for each in json.loads(stored.read_text())["benchmarks"]}
    assert {"read a poll", "write a package", "verify a hundred signatures"} <= groups


def test_what_an_idle_connection_takes_is_kept_beside_its_goal(tmp_path: Path) -> None:
    said, (figure, spent) = _kept("tls_memory", tmp_path, "--rounds", "1", "--operations", "100", "--euiccs", "5")
    assert [line.split()[0] for line in said.splitlines()] == ["tls_memory"]
    assert isinstance(figure, Record)
    assert isinstance(spent, Cost)
    assert figure.ratio == pytest.approx(30 / figure.figure)


@pytest.mark.skipif(_nginx.found() is None, reason="there is no nginx")
def test_connections_of_each_version_are_kept_in_full_and_resumed(tmp_path: Path) -> None:
    said, found = _kept("tls_handshake", tmp_path, "--rounds", "1", "--operations", "8", "--euiccs", "5")
    versions = ["tls13_full", "tls13_resumed", "tls12_full", "tls12_resumed"]
    assert [line.split()[0] for line in said.splitlines()] == versions
    assert [each.name for each in found] == ["poll_new", "poll_new", "poll_resumed13", "poll_resumed12"]


def test_ten_times_as_many_devices_leave_a_process_at_work() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.overload", "--rounds", "1", "--operations", "1", "--euiccs", "50"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if not line.startswith("20")] == ["overload"]


@pytest.mark.slow
@pytest.mark.skipif(_load.wrk() is None, reason="wrk is not installed")
def test_floods_of_each_kind_are_tried_beside_known_devices() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.floods", "--rounds", "1", "--operations", "1", "--euiccs", "500"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("floods_")]
    kinds = ["alone", "crowd", "strangers", "no_handshake", "half_a_request"]
    assert shown == [f"floods_{kind}" for kind in kinds]


@pytest.mark.skipif(_load.wrk() is None or _nginx.found() is None, reason="there is no wrk or no nginx")
def test_the_door_is_kept_beside_nginx_the_general_server_and_single_questions(tmp_path: Path) -> None:
    _, found = _kept("poll_door", tmp_path, "--rounds", "1", "--operations", "1", "--euiccs", "500")
    assert [each.name for each in found] == [
        "poll_http", "poll_tls", "poll_http_asked", "poll_tls_asked", "door", "gathered", "poll_tls",
    ]  # fmt: skip
