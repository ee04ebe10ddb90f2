"""The octets that each target starts from, and those that once broke it: files in corpus/<target>/, kept for ever."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "corpus"


def seeds(target: str) -> dict[str, bytes]:
    """By the file's name."""
    return {path.name: path.read_bytes() for path in sorted((FOLDER / target).iterdir())}
