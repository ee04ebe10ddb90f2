"""The product's own descriptions of the messages, read and written by the slow twins of the native codec.

The modules of `eim.asn1` are run a second time from their sources, with the twins in the place of what is native. Their
classes are others than the product's, so values are compared by what they show of themselves.
"""

import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import eim.asn1
from tests.reference import der, kinds, schema

_SOURCES: Final = Path(eim.asn1.__file__).parent
_PACKAGE: Final = "slow_asn1"
_IN_ORDER: Final = ("kinds", "packages", "results", "package_results", "rsp", "data", "esipa", "sgp32")
_NATIVE: Final = "from eim._fast.kinds import Boolean, Integer, LooseText, Null, Octets, Text\n"


@cache
def codec() -> Any:
    """The slow `sgp32`: `encode`, `decode` and the rest."""
    sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
    _put("der", der)
    _put("schema", schema)
    for name in _IN_ORDER:
        source = (_SOURCES / f"{name}.py").read_text()
        if name == "kinds":
            assert _NATIVE in source
            source = source.replace(_NATIVE, f"from {kinds.__name__} import {_NATIVE.partition(' import ')[2]}")
        module = ModuleType(f"{_PACKAGE}.{name}")
        _put(name, module)
        exec(compile(source.replace("eim.asn1", _PACKAGE), f"slow {name}", "exec"), module.__dict__)
    return sys.modules[f"{_PACKAGE}.sgp32"]


def _put(name: str, module: ModuleType) -> None:
    sys.modules[f"{_PACKAGE}.{name}"] = module
    setattr(sys.modules[_PACKAGE], name, module)
