"""No secret in what is published: neither in a file of the repository nor anywhere in its history."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
_SECRETS: Final = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20}"),
    "an API token of ours": re.compile(r"\beim_[A-Za-z0-9_-]{43}\b"),
    "a webhook secret": re.compile(r"\bwhsec_[A-Za-z0-9+/=]{32,}"),
    "a key of AWS": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{60,}"),
    "a token of Slack": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a token of GitLab or PyPI": re.compile(r"\bglpat-[\w-]{20}\b|\bpypi-AgEI[\w-]{50,}"),
    "a JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "a password in a URL": re.compile(
        r"\b[a-z][a-z0-9+]{2,20}://[^\s:/@'\"{}<>$*]+:(?!\*|secret|password|hunter2|x+@|p@)[^\s:/@'\"{}<>$*]{8,}@"
    ),
}
# Keys that GSMA publishes for tests (SGP.26) are worth nothing to anyone; nothing else may be listed.
_PUBLISHED: Final = ("tests/vectors/",)
_SAMPLES: Final = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",)  # the example of the Standard Webhooks specification


def found_in(text: str) -> Iterator[str]:
    for what, pattern in _SECRETS.items():
        for match in pattern.finditer(text):
            if match[0] not in _SAMPLES and not re.fullmatch(r"eim_(.)\1+", match[0]):  # xxxx is nobody's token
                yield f"{what}: {match[0][:24]}..."


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or not (_ROOT / ".git").exists(), reason="needs the repository, not an archive of it"
)


def test_no_file_holds_a_secret() -> None:
    files = [name for name in git("ls-files", "-z").split("\0") if name and not name.startswith(_PUBLISHED)]
    assert len(files) > 100
    held = [
        f"{name}: {found}"
        for name in files
        if (_ROOT / name).is_file()
        for found in found_in((_ROOT / name).read_text("utf-8", "replace"))
    ]
    assert held == []


def test_the_history_holds_no_secret() -> None:
    changes = git("log", "-p", "--all", "--no-color", "--unified=0", "--", ".", *(f":!{p}" for p in _PUBLISHED))
    added = "\n".join(line[1:] for line in changes.splitlines() if line.startswith("+"))
    assert len(added) > 100_000
    assert list(found_in(added)) == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE" + " KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49",
        "EIM_TOKEN=eim_" + "Ab3-_" * 8 + "xyz",
        "postgresql://eim:" + "s3cr3tpassw0rd@db.example.com/eim",
        "AKIA" + "ABCDEFGHIJKLMNOP",
    ],
)
def test_what_is_a_secret_is_seen(text: str) -> None:
    assert list(found_in(text))
