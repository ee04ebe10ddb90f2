"""`dev` on a small project of its own that needs no network: what it makes, and above all when it makes nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).resolve().parents[2]

_PYPROJECT: Final = """
[build-system]
requires = ["pip"]
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1"
dependencies = []

[project.optional-dependencies]
test = []
"""

# Builds an empty editable wheel, and "compiles" as setuptools would: a file beside each source.
_BACKEND: Final = """
import sys, sysconfig, time, zipfile
from pathlib import Path

def build_editable(folder, config_settings=None, metadata_directory=None):
    compile_fast()
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        metadata = "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\nProvides-Extra: test\\n"
        wheel.writestr("small-1.dist-info/METADATA", metadata)
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    return name

def compile_fast():
    for source in Path("src/eim/_fast").glob("*.pyx"):
        source.with_name(source.stem + sysconfig.get_config_var("EXT_SUFFIX")).touch()
    while Path("wait").exists():
        time.sleep(0.01)
"""


class Small:
    """A clone with nothing in it but `dev`, one Cython source and a runner that prints what its benchmark is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(_ROOT / "dev", folder)
        fast = folder / "src" / "eim" / "_fast"
        fast.mkdir(parents=True)
        self.source = fast / "tlv.pyx"
        self.source.write_text("cdef int one = 1\n")
        (folder / "bench").mkdir()
        (folder / "bench" / "_run.py").write_text("import sys\nprint('ran with', *sys.argv[2:])\n")
        (folder / "backend.py").write_text(_BACKEND)
        (folder / "setup.py").write_text("from backend import compile_fast\n\ncompile_fast()\n")
        (folder / "pyproject.toml").write_text(_PYPROJECT)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(self.folder / "dev"), *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=_environment()
        )

    def call(self, *arguments: str) -> tuple[str, list[str]]:
        """(what the command printed, the steps dev took before). Fails when the call does."""
        process = self.start(*arguments)
        printed, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return printed.strip(), steps(said)

    def compiled(self) -> list[Path]:
        return list(self.source.parent.glob("*.so"))


def _environment(**changes: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))},
        **changes,
    }


def steps(said: str) -> list[str]:
    """The first two words of each step."""
    lines = [line.removeprefix("dev: ") for line in said.splitlines() if line.startswith("dev: ")]
    return [" ".join(line.split()[:2]) for line in lines]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    folder = tmp_path / "a clone"  # with a blank in its path
    folder.mkdir(mode=0o700)
    return Small(folder)


def test_a_set_up_is_made_once_and_follows_what_changes(small: Small) -> None:
    everything = ["creating .venv", "installing dependencies"]
    assert small.call("bench") == ("ran with", everything)
    assert small.compiled()
    assert small.call("bench", "echo", "--rounds", "3") == ("ran with --rounds 3", [])

    small.source.write_text("cdef int two = 2\n")
    assert small.call("bench")[1] == ["compiling eim._fast"]

    for module in small.compiled():
        module.unlink()
    assert small.call("bench")[1] == ["compiling eim._fast"]
    assert small.compiled()

    declared = small.folder / "pyproject.toml"
    declared.write_text(declared.read_text().replace('version = "1"', 'version = "1.0"'))
    assert small.call("bench")[1] == ["installing dependencies"]

    declared.write_text(declared.read_text() + "\n[tool.ruff]\nline-length = 120\n")
    assert small.call("bench")[1] == []

    moved = small.folder.rename(small.folder.with_name("moved"))
    small.folder, small.source = moved, moved / "src" / "eim" / "_fast" / "tlv.pyx"
    assert small.call("bench")[1] == ["installing dependencies"]


@pytest.mark.slow
def test_a_set_up_that_was_killed_is_redone_from_the_start(small: Small) -> None:
    (small.folder / "wait").touch()
    first = small.start("bench")
    until(lambda: bool(small.compiled()))  # in the middle of pip's work
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = small.start("bench")
    assert second.stderr is not None
    assert steps(second.stderr.readline()) == ["waiting for"]  # the orphaned pip of the first still writes
    (small.folder / "wait").unlink()
    printed, said = second.communicate(timeout=120)
    assert (printed.strip(), steps(said)) == ("ran with", ["creating .venv", "installing dependencies"])
    assert small.call("bench")[1] == []


def test_a_call_beside_another_waits_for_it_and_makes_nothing_twice(small: Small) -> None:
    (small.folder / "wait").touch()
    first = small.start("bench")
    until(lambda: bool(small.compiled()))
    second = small.start("bench")
    assert second.stderr is not None
    assert steps(second.stderr.readline()) == ["waiting for"]
    (small.folder / "wait").unlink()
    printed, said = second.communicate(timeout=120)
    assert (printed.strip(), steps(said)) == ("ran with", [])
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_an_environment_somebody_else_made_is_kept(small: Small) -> None:
    environment = small.folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    (environment / "theirs").touch()
    assert small.call("bench")[1] == ["installing dependencies"]
    assert (environment / "theirs").exists()


def test_clean_leaves_the_sources(small: Small) -> None:
    (small.folder / "build").mkdir()
    small.source.with_suffix(".c").touch()
    small.call("clean", "--all")
    left = {path.name for path in small.folder.iterdir()}
    assert left == {"backend.py", "bench", "dev", "pyproject.toml", "setup.py", "src"}
    assert [path.name for path in small.source.parent.iterdir()] == ["tlv.pyx"]


# --- What it says ---


def _fails(small: Small, *arguments: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, str(small.folder / "dev"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(**environment))
    return done.returncode, done.stderr


def test_without_a_command_it_lists_them_all(small: Small) -> None:
    printed, said = small.call()
    assert said == []
    for command in ("demo", "test", "lint", "types", "bench", "chaos", "sanitize", "fuzz", "build", "clean"):
        assert f"\n    {command} " in printed


def test_an_unknown_command_is_refused_by_name(small: Small) -> None:
    status, said = _fails(small, "deploy")
    assert status == 2
    assert "no command 'deploy'" in said


def test_an_interpreter_that_is_not_there_is_refused_by_name(small: Small) -> None:
    status, said = _fails(small, "--python", "3.99", "bench")
    assert (status, said) == (2, "dev: there is no python3.99 on PATH\n")


def test_what_a_failing_step_said_is_shown(small: Small) -> None:
    (small.folder / "backend.py").write_text("raise SystemExit('the back end is broken')\n")
    status, said = _fails(small, "bench")
    assert status == 1
    assert "the back end is broken" in said
    assert said.endswith("dev: the dependencies could not be installed; what went wrong is said above\n")


def _programs(folder: Path, **scripts: str) -> str:
    """A PATH with nothing on it but `scripts` and `env`."""
    folder.mkdir()
    for name, script in scripts.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    (folder / "env").symlink_to(shutil.which("env") or "/usr/bin/env")
    return str(folder)


def test_a_missing_compiler_is_named_where_nothing_can_install_it(small: Small, tmp_path: Path) -> None:
    status, said = _fails(small, "bench", PATH=_programs(tmp_path / "bin"), CC="gcc")
    assert status == 2
    assert said.count("\n") == 1
    assert "gcc libc6-dev" in said
    assert not (small.folder / ".venv").exists()


def test_a_missing_compiler_is_installed_where_that_is_allowed(small: Small, tmp_path: Path) -> None:
    log = tmp_path / "log"
    compiler = tmp_path / "bin" / "gcc"
    apt = f'echo "$@" >> {log}; case "$*" in *install*) echo "#!/bin/sh" > {compiler}; chmod +x {compiler};; esac'
    chmod = shutil.which("chmod")
    path = _programs(
        tmp_path / "bin", **{"apt-get": apt.replace("chmod", str(chmod)), "sudo": 'shift; exec "$@"', "true": ""}
    )
    command = [sys.executable, str(small.folder / "dev"), "bench"]
    subprocess.run(command, check=True, capture_output=True, env=_environment(PATH=path, CC="gcc"))
    assert log.read_text().splitlines() == ["-qq update", "-qq install -y --no-install-recommends gcc libc6-dev"]


def test_a_missing_compiler_is_named_with_the_command_where_sudo_asks(small: Small, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root needs no sudo")
    path = _programs(tmp_path / "bin", **{"apt-get": "exit 1", "sudo": "exit 1"})
    status, said = _fails(small, "bench", PATH=path, CC="gcc")
    assert status == 2
    assert "sudo apt-get update && sudo apt-get install -y gcc libc6-dev" in said


def _old_pythons() -> Iterator[str]:
    for minor in range(6, 11):
        name = f"python3.{minor}"
        if shutil.which(name) and _starts([name, "-c", ""]):
            yield name


def _starts(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_an_old_python_hands_over_to_a_newer_one_or_says_what_it_needs(small: Small) -> None:
    old = next(_old_pythons(), None)
    if old is None:
        pytest.skip("no Python older than 3.11 on PATH")
    done = subprocess.run([old, str(small.folder / "dev")], capture_output=True, text=True, check=False)
    assert (done.returncode == 0 and "Commands:" in done.stdout) or "needs Python 3.11 or newer" in done.stderr
