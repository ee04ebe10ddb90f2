"""Reading the configuration: the TOML file, over it the environment, all of it checked before anything starts."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from eim.config import Config, Dsn
from eim.config_rules import conflicts
from eim.config_settings import Section, Setting, sections
from eim.errors import BadConfiguration

# Read by the command line and by tests, not settings of the server.
_NOT_SETTINGS: Final = re.compile(r"EIM_(CONFIG|SERVER|TOKEN|TEST_.*)")
# What Kubernetes puts into each container beside a Service that is called eim or eim-something.
_SERVICE_LINKS: Final = re.compile(r"EIM_(.*_)?(SERVICE_(HOST|PORT)(_.*)?|PORT_\d+_(TCP|UDP)(_.*)?)|EIM_PORT")
_DEFAULT: Final = "default"


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a configuration, and what to do."""

    setting: str
    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.setting} ({self.source}): {self.text}"


class Loaded(msgspec.Struct, frozen=True):
    """A sound configuration. `sources` has an entry for each setting: `default`, the file, or the variable."""

    config: Config
    sources: Mapping[str, str]


class _Given(msgspec.Struct, frozen=True):
    value: Any  # as TOML or the environment has it, before conversion
    source: str
    folder: Path  # what a relative path starts from


def load(file: Path | None, environment: Mapping[str, str]) -> Loaded:
    """The configuration of `file` (or the one that EIM_CONFIG names, or none) and `environment`.

    Raises BadConfiguration, one line a problem, with all of them.
    """
    known = sections()
    problems: list[Problem] = []
    chosen = file or (Path(environment["EIM_CONFIG"]) if environment.get("EIM_CONFIG") else None)
    given = _from_file(chosen, known, problems) if chosen else {}
    given |= _from_environment(environment, known, problems)
    config = _convert(given, known, default_data_dir(environment), problems)
    sources = {
        s.key: given[s.key].source if s.key in given else _DEFAULT for section in known for s in section.settings
    }
    # Rules between settings are asked even when single settings are wrong: those hold their defaults meanwhile.
    wrong = {problem.setting for problem in problems}
    for setting, text in conflicts(config):
        if setting not in wrong:
            problems.append(Problem(setting, sources[setting], text))
    if problems:
        raise BadConfiguration("the configuration can't be used:\n" + "\n".join(f"  {each}" for each in problems))
    return Loaded(config, sources)


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """/var/lib/eim/default for root, otherwise `eim` in the user's data folder (XDG)."""
    if os.geteuid() == 0:
        return Path("/var/lib/eim/default")
    xdg = environment.get("XDG_DATA_HOME", "")
    return (Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".local" / "share") / "eim"


def _from_file(file: Path, known: Sequence[Section], problems: list[Problem]) -> dict[str, _Given]:
    source = f"file {file}"
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        problems.append(Problem("configuration file", source, f"can't be read: {error.strerror}"))
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(Problem("configuration file", source, f"is not TOML: {error}"))
        return {}
    by_name = {section.name: section for section in known}
    given: dict[str, _Given] = {}
    for name, table in content.items():
        if name not in by_name:
            problems.append(Problem(name, source, _unknown("section", name, by_name)))
        elif not isinstance(table, dict):
            problems.append(Problem(name, source, f"is a section: write [{name}] on a line of its own"))
        else:
            given |= _from_table(by_name[name], table, _Given(None, source, file.parent), problems)
    return given


def _from_table(section: Section, table: dict[str, Any], origin: _Given, problems: list[Problem]) -> dict[str, _Given]:
    names = {setting.name for setting in section.settings}
    problems.extend(
        Problem(f"{section.name}.{name}", origin.source, _unknown("setting", name, names))
        for name in table
        if name not in names
    )
    return {
        f"{section.name}.{name}": msgspec.structs.replace(origin, value=table[name]) for name in table if name in names
    }


def _from_environment(
    environment: Mapping[str, str], known: Sequence[Section], problems: list[Problem]
) -> dict[str, _Given]:
    by_variable = {setting.variable: setting for section in known for setting in section.settings}
    given: dict[str, _Given] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith("EIM_") or not text:
            continue  # an empty variable is one that is not set
        if setting := by_variable.get(variable):
            value = [item.strip() for item in text.split(",") if item.strip()] if setting.is_list else text
            given[setting.key] = _Given(value, f"environment {variable}", Path.cwd())
        elif not _NOT_SETTINGS.fullmatch(variable) and not _SERVICE_LINKS.fullmatch(variable):
            problems.append(Problem(variable, "environment", _unknown("variable", variable, by_variable)))
    return given


def _unknown(what: str, name: str, known: Mapping[str, object] | set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"unknown {what}" + (f": did you mean {near[0]}?" if near else ": remove it")


def _convert(given: Mapping[str, _Given], known: Sequence[Section], data_dir: Path, problems: list[Problem]) -> Config:
    built: dict[str, Any] = {}
    for section in known:
        values: dict[str, Any] = {"data_dir": data_dir} if section.name == "server" else {}
        for setting in section.settings:
            if setting.key in given:
                values |= _convert_one(setting, given[setting.key], problems)
        built[section.name] = section.kind(**values)
    return Config(**built)


def _convert_one(setting: Setting, given: _Given, problems: list[Problem]) -> dict[str, Any]:
    """{name: value}, or nothing and a problem more."""

    def from_text(kind: type, value: object) -> object:
        if not isinstance(value, str) or not value:
            raise ValueError("not text")
        return (given.folder / Path(value).expanduser()) if kind is Path else Dsn(value)

    try:
        strict = not given.source.startswith("environment")
        return {setting.name: msgspec.convert(given.value, setting.annotation, strict=strict, dec_hook=from_text)}
    except (msgspec.ValidationError, ValueError, RuntimeError):  # RuntimeError: "~" of nobody
        shown = "the value" if setting.is_secret else repr(given.value)
        link = " (a Kubernetes service link? set enableServiceLinks: false)" if _is_link(given.value) else ""
        problems.append(Problem(setting.key, given.source, f"{shown} can't be used{link}: write {setting.expected}"))
        return {}


def _is_link(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("tcp://", "udp://"))


def shown(config: Config, sources: Mapping[str, str] | None = None) -> Iterator[str]:
    """The configuration as lines of TOML, secrets masked; with `sources`, where each setting comes from."""
    for section in sections():
        yield f"[{section.name}]"
        part = getattr(config, section.name)
        for setting in section.settings:
            text = toml(getattr(part, setting.name))
            line = f"{setting.name} = {text}" if text is not None else f"# {setting.name} is not set"
            yield line + (f"  # {sources[setting.key]}" if sources else "")
        yield ""


def toml(value: object) -> str | None:
    """A value as TOML writes it, secrets masked; None when there is none."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(item) or "" for item in value) + "]"
    return msgspec.json.encode(str(value)).decode()  # a JSON string is a TOML basic string


def written(config: Config) -> str:
    """The configuration as a TOML file that means the same anywhere. Secrets stand in it: for private files only."""
    return "\n".join(_written(config)) + "\n"


def _written(config: Config) -> Iterator[str]:
    for section in sections():
        yield f"[{section.name}]"
        part = getattr(config, section.name)
        for setting in section.settings:
            text = toml(_anywhere(getattr(part, setting.name)))
            if text is not None:
                yield f"{setting.name} = {text}"


def _anywhere(value: object) -> object:
    match value:
        case tuple():
            return tuple(_anywhere(each) for each in value)
        case Path():
            return value.absolute()
        case Dsn():
            return value.text
        case _:
            return value
