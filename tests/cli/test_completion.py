"""What the tab key completes, asked as the shells ask."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"


def ask(shell: str, script: str) -> str:
    done = subprocess.run(
        [shell, "-c", script], env={**os.environ, "PATH": _PATH}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_takes_the_script_and_completes_a_command() -> None:
    asked = 'source <(eim completion bash); COMP_WORDS=(eim dev); COMP_CWORD=1; _eim_completion eim; echo "$COMPREPLY"'
    assert ask("bash", f"set -e; eim completion bash | bash -n; {asked}") == "devices\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_of_another_shell_asks_the_program(shell: str) -> None:
    script = ask("sh", f"eim completion {shell}")
    assert f"_EIM_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        assert ask(shell, "eim completion " + shell + " | " + shell + " -n") == ""
