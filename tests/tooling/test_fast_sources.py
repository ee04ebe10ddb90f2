"""The rules of the pure layers, for the Cython sources that import-linter and ruff do not read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).resolve().parents[2]
_FAST: Final = _ROOT / "src" / "eim" / "_fast"
_SOURCES: Final = sorted([*_FAST.glob("*.pyx"), *_FAST.glob("*.pxd")])

# What _fast may name: the floor, itself, C's own headers, buffers, and the library whose ECDSA it binds.
_ALLOWED: Final = re.compile(
    r"eim\.errors|eim\._fast(\.\w+)?|cython(\.parallel)?|cpython(\.(bytes|buffer|mem|object|ref|unicode|tuple|long))?"
    r"|libc\.(stdint|string|stddef|stdlib|limits)|collections\.abc|typing"
)
_IMPORT: Final = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import\b|c?import[ \t]+([^\n#]+))", re.MULTILINE)
_HEADER: Final = re.compile(r"cdef\s+extern\s+from\s+[\"<]([^\">]+)")
_ALLOWED_HEADER: Final = re.compile(r"openssl/\w+\.h|string\.h|stdint\.h|Python\.h")
_CLOCK_OR_CHANCE: Final = re.compile(
    r"\b(?:clock_gettime|gettimeofday|s?rand(?:_r|om)?|getrandom|RAND_bytes|nanosleep)\s*\("
)
_DYNAMIC: Final = re.compile(r"\b__import__\b|\bimportlib\b|\bPyImport_\w+")


def offences(source: str) -> Iterator[str]:
    """What `source` may not do: import beyond _ALLOWED, bind other headers, read a clock, draw randomness."""
    for origin, names in _IMPORT.findall(source):
        modules = [origin] if origin else [name.split()[0] for name in names.split(",")]
        yield from (f"imports {module}" for module in modules if not _ALLOWED.fullmatch(module))
    yield from (f"binds {header}" for header in _HEADER.findall(source) if not _ALLOWED_HEADER.fullmatch(header))
    yield from (f"calls {call}" for call in _CLOCK_OR_CHANCE.findall(source))
    yield from (f"imports by {name}" for name in _DYNAMIC.findall(source))


@pytest.mark.parametrize("source", _SOURCES, ids=lambda source: source.name)
def test_a_cython_source_keeps_to_bytes_and_numbers(source: Path) -> None:
    assert list(offences(source.read_text())) == []


@pytest.mark.parametrize("source", sorted(_FAST.glob("*.pyx")), ids=lambda source: source.name)
def test_a_cython_module_is_typed_beside_its_source(source: Path) -> None:
    assert source.with_suffix(".pyi").exists()


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import struct, time",
        "import time as clock",
        "from time import monotonic",
        "    from random import random",
        "cimport libc.time",
        "from libc.time cimport time",
        "from posix.time cimport clock_gettime",
        "from eim.domain.ids import Eid",
        "from eim.protocol import esipa",
        "import asyncio",
        'cdef extern from "time.h":',
        "cdef extern from <sys/socket.h> nogil:",
        "    seed = rand()",
        "    RAND_bytes(&buffer[0], 32)",
        "    module = __import__('time')",
    ],
)
def test_the_check_finds(line: str) -> None:
    assert list(offences(f"# cython: language_level=3\n{line}\n"))
