"""The wheel and the sdist: complete, and able to run away from the clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

_ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCE: Final = _ROOT / "src" / "eim"
_IMPORT_FAST: Final = "; ".join(
    ["import eim._fast", *(f"import eim._fast.{file.stem}" for file in _SOURCE.glob("_fast/*.pyx"))]
)

pytestmark = pytest.mark.xdist_group("distributions")  # built once, by one worker


class Built(msgspec.Struct, frozen=True):
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel as built from the sdist, as an installer without a wheel for its platform would."""
    clone, out = tmp_path_factory.mktemp("clone") / "eim", tmp_path_factory.mktemp("dist")
    leave = shutil.ignore_patterns(".*", "build", "dist", "*.so", "*.c", "__pycache__", "*.egg-info")
    shutil.copytree(_ROOT, clone, ignore=leave)
    shutil.copytree(_ROOT / ".ci", clone / ".ci")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(clone)], clone)
    return Built(next(out.glob("*.whl")), next(out.glob("*.tar.gz")))


def _run(command: Sequence[str | Path], folder: Path) -> str:
    """What `command` prints, run in `folder` and without anything of this environment's Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _files(pattern: str) -> set[str]:
    return {f"eim/{path.relative_to(_SOURCE)}" for path in _SOURCE.glob(pattern)}


def test_the_wheel_holds_the_product_and_nothing_else(built: Built) -> None:
    held = set(zipfile.ZipFile(built.wheel).namelist())
    compiled = {name.replace(".pyx", sysconfig.get_config_var("EXT_SUFFIX")) for name in _files("_fast/*.pyx")}
    needed = (
        _files("**/*.py") | _files("**/*.sql") | _files("**/*.html") | _files("**/*.pyi") | {"eim/py.typed"} | compiled
    )
    assert needed - held == set()
    extra = {name for name in held - needed if ".dist-info/" not in name}
    assert {Path(name).suffix for name in extra} <= {".pxd", ".css", ".svg"}, extra
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_the_sdist_holds_what_a_build_and_a_test_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    sources = {
        f"src/{name}"
        for pattern in ("**/*.py", "**/*.pyx", "**/*.pxd", "**/*.pyi", "**/*.sql")
        for name in _files(pattern)
    }
    beside = {"pyproject.toml", "setup.py", "dev", ".ci/run", "LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md"}
    assert (sources | beside) - held == set()
    assert "tests/tooling/test_distributions.py" in held
    assert not {name for name in held if name.endswith((".c", ".so", ".pyc"))}


def test_the_wheel_runs_away_from_the_clone(built: Built, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    _run([sys.executable, "-m", "venv", environment], tmp_path)
    python = environment / "bin" / "python"
    _run([python, "-m", "pip", "install", "--no-deps", "--no-index", built.wheel], tmp_path)
    packages = Path(_run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).strip())
    # The dependencies are those of this environment; its link to the clone is not followed from there.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _runs_in(environment, tmp_path)


def _runs_in(environment: Path, folder: Path) -> None:
    python = environment / "bin" / "python"
    _run([python, "-c", _IMPORT_FAST], folder)
    assert str(environment) in _run([python, "-c", "import eim; print(eim.__file__)"], folder)
    assert "Usage: eim" in _run([environment / "bin" / "eim", "--help"], folder)


def _starting(name: str) -> str | None:
    """`name` on PATH, if it starts: version managers leave names there that start nothing."""
    path = shutil.which(name)
    started = path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
    return path if started else None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3.13"])
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_installation_from_nothing_runs(built: Built, tmp_path: Path, name: str, kind: str) -> None:
    python = _starting(name)
    if python is None:
        pytest.skip(f"no {name} on PATH")
    if kind == "wheel" and name != f"python3.{sys.version_info.minor}":
        pytest.skip(f"the wheel was built for Python 3.{sys.version_info.minor}")
    environment = tmp_path / "venv"
    _run([python, "-m", "venv", environment], tmp_path)
    archive = built.wheel if kind == "wheel" else built.sdist
    _run([environment / "bin" / "python", "-m", "pip", "install", "--quiet", archive], tmp_path)
    _runs_in(environment, tmp_path)
