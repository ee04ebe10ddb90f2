"""Pages of the documentation, run as they are written: their sh blocks, in order, in one shell, on a real server."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

DOCS: Final = Path(__file__).parents[2] / "docs"
_DEADLINE: Final = 150.0  # seconds; a page takes 30 when the machine has nothing else to do


def blocks_of(text: str) -> list[str]:
    """The blocks of a page that are to be run."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def environment_in(data: Path) -> dict[str, str]:
    """A newcomer's: nothing is configured but free ports and a data folder."""
    return {name: text for name, text in os.environ.items() if not name.startswith("EIM_")} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "EIM_SERVER_DATA_DIR": str(data),
        "EIM_DEVICE_PORT": str(_free_port()),
        "EIM_OPERATOR_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def follow(blocks: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What the commands print; none of them failed, and nothing of them is left running."""
    shell = subprocess.Popen(
        ["bash", "-c", "set -eu\n" + "\n".join(blocks)],
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
