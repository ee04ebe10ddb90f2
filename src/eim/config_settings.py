"""The settings one by one, as the types in `config` declare them: name, kind, default, meaning."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, inspect

from eim.config import Config, Dsn


class Setting(msgspec.Struct, frozen=True):
    """One setting. `annotation` is what msgspec converts to; `expected` says in words what may stand there."""

    section: str
    name: str
    annotation: Any  # a type form, which has no type of its own in Python 3.11
    expected: str
    meaning: str
    default: object  # msgspec.NODEFAULT: there is none that could be written down

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        return f"EIM_{self.section}_{self.name}".upper()

    @property
    def is_secret(self) -> bool:
        return Dsn in _classes(inspect.type_info(self.annotation))

    @property
    def is_list(self) -> bool:
        return isinstance(_plain(inspect.type_info(self.annotation)), inspect.VarTupleType)


class Section(msgspec.Struct, frozen=True):
    name: str
    kind: type[msgspec.Struct]
    meaning: str
    settings: tuple[Setting, ...]


def sections() -> tuple[Section, ...]:
    """All sections in the order of the types."""
    return tuple(_sections())


def _sections() -> Iterator[Section]:
    for field in msgspec.structs.fields(Config):
        kind: type[msgspec.Struct] = field.type
        settings = tuple(_setting(field.name, each) for each in msgspec.structs.fields(kind))
        yield Section(field.name, kind, (kind.__doc__ or "").strip(), settings)


def _setting(section: str, field: msgspec.structs.FieldInfo) -> Setting:
    info = inspect.type_info(field.type)
    meaning = ""
    if isinstance(info, inspect.Metadata):
        meaning = str((info.extra_json_schema or {}).get("description", ""))
    default = field.default_factory() if field.default_factory is not NODEFAULT else field.default
    return Setting(section, field.name, field.type, _expected(info), meaning, default)


def _plain(info: inspect.Type) -> inspect.Type:
    """`info` without its metadata and without "or none"."""
    if isinstance(info, inspect.Metadata):
        return _plain(info.type)
    if isinstance(info, inspect.UnionType):
        return _plain(next(each for each in info.types if not isinstance(each, inspect.NoneType)))
    return info


def _classes(info: inspect.Type) -> set[type]:
    plain = _plain(info)
    return {plain.cls} if isinstance(plain, inspect.CustomType) else set()


_BY_PATTERN: Final = {
    "^[a-z_][a-z0-9_]{0,62}$": "a name of lower-case letters, digits and _",
    "^[a-z0-9][a-z0-9_-]{0,63}$": "a name of lower-case letters, digits, - and _",
    "^https?://[^/?#]+/?$": "an http:// or https:// address without a path",
}


def _expected(info: inspect.Type) -> str:
    """What may stand there, in words that fit behind "write"."""
    plain = _plain(info)
    match plain:
        case inspect.BoolType():
            return "true or false"
        case inspect.EnumType():
            return "one of " + ", ".join(str(member.value) for member in plain.cls)
        case inspect.VarTupleType():
            return f"a list, each {_expected(plain.item_type)}"
        case inspect.CustomType():
            return "postgresql://user:password@host:port/database" if plain.cls is Dsn else "a path"
        case _:
            return _expected_number(plain) or _expected_text(plain)


def _expected_number(plain: inspect.Type) -> str | None:
    match plain:
        case inspect.IntType():
            return f"a whole number from {plain.ge} to {plain.le}"
        case inspect.FloatType(gt=None):
            return f"a number from {plain.ge:g} to {plain.le:g}"
        case inspect.FloatType():
            return f"a number above {plain.gt:g}, up to {plain.le:g}"
        case _:
            return None


def _expected_text(plain: inspect.Type) -> str:
    match plain:
        case inspect.StrType(pattern=str(pattern)):
            return _BY_PATTERN[pattern]
        case inspect.StrType(max_length=int(longest)):
            return f"text of at most {longest} characters"
        case _:
            return "text"
