"""Search one parser for what it must not do: `./dev fuzz TARGET [--seconds N]`, guided by coverage (atheris).

New octets that reach new code are kept in .dev/fuzz/TARGET, so that the next call goes on from there. What makes the
target fail is written to .dev/fuzz/TARGET-crash-...: put that file into tests/fuzz/corpus/TARGET, where
tests/fuzz/test_targets.py runs it from then on.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["eim"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.corpus import FOLDER

_FOUND: Final = Path(__file__).parents[2] / ".dev" / "fuzz"
_LONGEST: Final = 4096


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    asked = parser.parse_args()
    found = _FOUND / asked.target
    found.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={asked.seconds}", f"-max_len={_LONGEST}", "-timeout=5", "-rss_limit_mb=2048"]
    target = TARGETS[asked.target]
    atheris.Setup(
        [sys.argv[0], *options, f"-artifact_prefix={_FOUND}/{asked.target}-", str(found), str(FOLDER / asked.target)],
        target,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
