"""Each rule that CI holds is broken here once, in a copy, and must be noticed. Needs the extra `lint`, as CI has it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ["ruff", "importlinter"])), reason="the extra `lint` is not installed"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The Python sources and the rules, free to be broken."""
    shutil.copytree(_ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    shutil.copy(_ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _ruff(copy: Path, module: str, source: str) -> str:
    (copy / "src" / "eim" / module).write_text(source)
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", f"src/eim/{module}"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("layer", ["asn1", "domain", "protocol", "_fast"])
@pytest.mark.parametrize(
    "source",
    [
        "import time\n\nNOW = time.time()\n",
        "from time import monotonic\n\nNOW = monotonic()\n",
        "import random\n\nN = random.random()\n",
        "import secrets\n\nN = secrets.token_bytes(16)\n",
        "import os\n\nN = os.urandom(16)\n",
        "from uuid import uuid4\n\nN = uuid4()\n",
        "from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n",
        "import datetime\n\nNOW = datetime.datetime.now(datetime.UTC)\n",
        "import asyncio\n\nQUEUE = asyncio.Queue\n",
    ],
)
def test_a_pure_layer_may_not_read_a_clock_draw_randomness_or_do_io(copy: Path, layer: str, source: str) -> None:
    assert "TID251" in _ruff(copy, f"{layer}/broken.py", source)


def test_a_service_may_read_the_clock(copy: Path) -> None:
    assert "TID251" not in _ruff(copy, "services/allowed.py", "import time\n\nNOW = time.monotonic()\n")


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("PLC0415", "def late() -> int:\n    import math\n\n    return int(math.pi)\n"),
        ("FBT001", "def send(octets: bytes, urgent: bool) -> bytes:\n    return octets if urgent else octets[1:]\n"),
        (
            "PLR0913",
            "def many(a: int, b: int, c: int, d: int, e: int, f: int) -> int:\n    return a + b + c + d + e + f\n",
        ),
        ("PLW0603", "COUNT = 0\n\n\ndef more() -> None:\n    global COUNT\n    COUNT += 1\n"),
        ("BLE001", "def quiet() -> int:\n    try:\n        return 1\n    except Exception:\n        return 2\n"),
        ("DTZ005", "from datetime import datetime\n\nNOW = datetime.now()\n"),
    ],
)
def test_style_is_held_everywhere(copy: Path, rule: str, source: str) -> None:
    assert rule in _ruff(copy, "services/broken.py", source)


def _layers(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(sysconfig.get_path("scripts")) / "lint-imports"), "--no-logo", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("domain/broken.py", "import eim.store"),
        ("asn1/broken.py", "import eim.domain"),
        ("protocol/broken.py", "import socket"),
        ("domain/broken.py", "import time"),
        ("services/broken.py", "import eim.web"),
        ("services/broken.py", "import eim.sim"),
        ("services/broken.py", "import eim.config"),
        ("web/broken.py", "import eim.keys"),
        ("keys/broken.py", "import eim.web"),
        ("web/broken.py", "import eim.config"),
        ("sim/broken.py", "import eim.services"),
        ("sim/broken.py", "import eim.store"),
        ("app.py", "import eim.sim"),
        ("unplaced.py", "import eim.errors"),
    ],
)
def test_an_import_against_the_layers_is_noticed(copy: Path, module: str, line: str) -> None:
    with (copy / "src" / "eim" / module).open("a") as source:
        source.write(f"\n{line}\n")
    done = _layers(copy)
    assert done.returncode == 1
    assert module.removesuffix(".py").replace("/", ".") in done.stdout, done.stdout
