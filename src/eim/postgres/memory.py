"""How much of the memory the embedded Postgres keeps pages in."""

import os
from pathlib import Path
from typing import Final

_MB: Final = 1 << 20
_LEAST: Final = 128 * _MB
_MOST: Final = 512 * _MB  # more is touched page by page by each connection anew, and costs more than it saves
_SHARE: Final = 4  # the rest is for our own processes, and for what the kernel keeps of files
_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def shared_buffers(total: int) -> str:
    """Postgres's setting of that name where there are `total` octets of memory: a quarter, 128 to 512 MB."""
    return f"{min(max(total // _SHARE, _LEAST), _MOST) // _MB}MB"


def total() -> int:
    """Octets of memory there are for us: the machine's, or what the container's limit leaves of it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, *map(limit, _LIMITS))


def limit(file: Path) -> int:
    """The octets that a control group's file allows; where it is absent or says "max", more than there can be."""
    try:
        said = file.read_text().strip()
    except OSError:
        return 1 << 62
    return int(said) if said.isdigit() else 1 << 62
