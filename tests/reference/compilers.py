"""The referee: asn1tools with our own notation, and with the standard's where it lies beside the checkout."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import asn1tools

HERE: Final = Path(__file__).parent
BESIDE: Final = HERE.parents[2] / "shared" / "reference" / "asn1"


@cache
def own() -> Any:
    """Our notation, compiled."""
    return asn1tools.compile_files([str(HERE / "wire.asn")], "der")


@cache
def standard(version: str) -> Any:
    """The module of SGP.32 `version` ("v1.2"), compiled; None where it isn't there."""
    edition = BESIDE / "asn1tools"
    if not edition.is_dir():
        return None
    names = ("pkix1explicit88.asn", "pkix1implicit88.asn", "pedefinitions-uicccapability.asn")
    files = [edition / f"sgp32-{version}.asn", edition / "sgp22-v2.7.asn", *(BESIDE / name for name in names)]
    return asn1tools.compile_files([str(path) for path in files], "der").modules["SGP32Definitions"]
