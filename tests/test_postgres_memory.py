"""How much memory the embedded Postgres takes: by what there is."""

from pathlib import Path

import pytest

from eim.postgres import memory

_GB = 1 << 30


@pytest.mark.parametrize(
    ("total", "taken"),
    [(_GB // 4, "128MB"), (_GB, "256MB"), (3 * _GB // 2, "384MB"), (2 * _GB, "512MB"), (64 * _GB, "512MB")],
)
def test_a_quarter_is_taken_between_bounds(total: int, taken: str) -> None:
    assert memory.shared_buffers(total) == taken


@pytest.mark.parametrize(("said", "octets"), [("1073741824\n", _GB), ("max\n", 1 << 62), ("", 1 << 62)])
def test_a_limit_on_the_container_counts_where_there_is_one(tmp_path: Path, said: str, octets: int) -> None:
    file = tmp_path / "memory.max"
    file.write_text(said)
    assert memory.limit(file) == octets
    assert memory.limit(tmp_path / "absent") == 1 << 62


def test_this_machine_has_some() -> None:
    assert _GB // 4 < memory.total() < 1 << 50
