"""What `perf script` prints, folded: one line a stack, callers first, with names a reader knows."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

_FRAME: Final = re.compile(r"^\s+[0-9a-f]+ (.+) \((.+?)\)$")
_CYTHON: Final = re.compile(r"^__pyx_(?:f|pw|pf|gb|tp_\w+?)_")
_KERNEL: Final = "[kernel.kallsyms]"
_SYSCALL: Final = re.compile(r"^(?:__x64_|__se_|__do_)?(?:ksys|sys)_(\w+)$")
_COLLECTING: Final = ("gc_collect", "visit_", "subtract_refs", "dict_traverse", "tupletraverse", "list_traverse")


def fold(script: str) -> list[str]:
    """Folded stacks with their samples, of the output of `perf script -F ip,sym,dso`."""
    counted = Counter(";".join(_told(stack)) for stack in _stacks(script.splitlines()))
    return [f"{stack} {samples}" for stack, samples in counted.items() if stack]


def _stacks(lines: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """(function, library) of each sample, callers first."""
    stack: list[tuple[str, str]] = []
    for line in lines:
        found = _FRAME.match(line)
        if found:
            stack.append((found[1], found[2]))
        elif stack:
            yield stack[::-1]
            stack = []
    if stack:
        yield stack[::-1]


def _told(stack: list[tuple[str, str]]) -> list[str]:
    """The frames by the names of readers; what follows itself counts once, and of the kernel only what it was asked."""
    told: list[str] = []
    for function, library in stack:
        if function == "[unknown]" and library == "[unknown]":
            continue
        name = _name(function, library)
        if library == _KERNEL:
            asked = _SYSCALL.match(function)
            if not (told and told[-1].startswith("kernel")):
                told.append("kernel")
            if asked and told[-1] == "kernel":
                told[-1] = f"kernel: {asked[1]}"
        elif not told or told[-1] != name:
            told.append(name)
    return told


def _name(function: str, library: str) -> str:
    file = library.rpartition("/")[2].partition(".")[0]
    if file.startswith(("libpython", "python")):
        return "garbage collection" if function.startswith(_COLLECTING) else "python"
    if function == "[unknown]":
        return file
    cython = _CYTHON.match(function)
    return _demangled(function[cython.end() :]) if cython else function.removeprefix("__GI_")


def _demangled(name: str) -> str:
    """`6uvloop_4loop_8UVStream_5write` is uvloop.UVStream.write: each part behind its length, or the rest."""
    parts: list[str] = []
    while found := re.match(r"_*(\d+)", name):
        start, size = found.end(), int(found[1])
        if size > len(name) - start:  # a running number in front of the last name
            name = name[start:]
            break
        parts.append(name[start : start + size])
        name = name[start + size :]
    rest = name.lstrip("_0123456789")
    whole = [*parts, *([rest] if rest else [])]
    return ".".join([whole[0], *whole[-2:]] if len(whole) > 3 else whole)
