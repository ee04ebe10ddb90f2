"""docs/your-own-device.md is run as it is written: its sh blocks, in order, in one shell, against a real server."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from eim.postgres import Embedded

_PAGE: Final = Path(__file__).parents[2] / "docs" / "your-own-device.md"
_DEADLINE: Final = 150.0  # seconds; it takes 30 when the machine has nothing else to do


def script() -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```$", _PAGE.read_text(), re.DOTALL | re.MULTILINE)
    if shutil.which("curl") is None:
        blocks = [block for block in blocks if "curl" not in block]
    return "set -eu\n" + "\n".join(blocks)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder; what root's Postgres keeps elsewhere goes with it."""
    folder = tmp_path / "data"
    yield folder
    asyncio.run(Embedded(folder / "postgres").remove())


def test_the_page_can_be_followed_to_its_end(tmp_path: Path, data: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("EIM_")} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "EIM_SERVER_DATA_DIR": str(data),
        "EIM_DEVICE_PORT": str(free_port()),
        "EIM_OPERATOR_PORT": str(free_port()),
    }
    said = follow(tmp_path, environment)
    assert "Carrier A" in said
    assert "euicc.proven" in said
    assert "not all were done" in said
    assert "rolledBack" in said
    assert "issued by a CI that is not configured" in said
    assert "rolled_back=1 twice=0 conflicting=0 repeated=0" in said.splitlines()[-1]


def follow(folder: Path, environment: dict[str, str]) -> str:
    """What the commands of the page print; none of them failed, and nothing of them is left running."""
    shell = subprocess.Popen(
        ["bash", "-c", script()],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate(timeout=_DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGTERM)
        said, _ = shell.communicate()
        pytest.fail(f"the page does not come to its end: {said}")
    assert shell.returncode == 0, said
    return said
