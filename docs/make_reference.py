"""Make docs/cli.md and the tables of docs/api.md and docs/operations.md from what they describe.

Run it as: python docs/make_reference.py
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import click
import msgspec

from eim import errors
from eim.api import Problem
from eim.cli import main as eim
from eim.domain import explanations, retry, standing
from eim.domain.event import Happening
from eim.domain.event_data import DATA
from eim.domain.operation import MOVES, State
from eim.errors import EimError
from eim.web import body, openapi, problems
from eim.web.operator import OperatorServices, endpoints_of

_DOCS: Final = Path(__file__).parent
_WIDTH: Final = 110
_MADE: Final = "<!-- Made by docs/make_reference.py; a test compares. -->"


def pages() -> dict[Path, str]:
    """Every page that is made, wholly or in part, with what it should say."""
    api = _DOCS / "api.md"
    text = _put(api.read_text(), "errors", "\n".join(_errors()))
    operations = _DOCS / "operations.md"
    said = _put(operations.read_text(), "retries", "\n".join(_retries()))
    said = _put(_put(said, "states", "\n".join(_states())), "moves", "\n".join(_moves()))
    events = _DOCS / "events.md"
    told = _put(events.read_text(), "types", "\n".join(_types()))
    routes = _put(text, "routes", "\n".join(_routes()))
    return {_DOCS / "cli.md": cli_page(), api: routes, operations: said, events: told}


def cli_page() -> str:
    head = (
        "Every command says the same with `--help`. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not available now."
    )
    return "\n".join(["# Commands", "", _MADE, "", head, *_commands(eim, "eim")]) + "\n"


def _commands(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield from ("", f"## {path}", "", "```text", command.get_help(context).rstrip(), "```")
    if isinstance(command, click.Group):
        for name in sorted(command.list_commands(context)):
            yield from _commands(cast("click.Command", command.get_command(context, name)), f"{path} {name}")


def _errors() -> Iterator[str]:
    yield "| code | status | meaning |"
    yield "| --- | --- | --- |"
    found = {kind.code: kind for module in (errors, body) for kind in _kinds(vars(module).values())}
    for code, kind in sorted(found.items()):
        yield f"| `{code}` | {_problem(kind).status} | {_meaning(kind)} |"


def _kinds(values: Any) -> Iterator[type[EimError]]:
    for value in values:
        if isinstance(value, type) and issubclass(value, EimError) and "code" in vars(value):
            yield value


def _problem(kind: type[EimError]) -> Problem:
    """What `web.problems` makes of an error of this kind; some kinds carry a value of their own."""
    if kind.__init__ is Exception.__init__:
        return problems.problem_of(kind(""))
    return problems.problem_of(kind(1) if kind is errors.RateLimited else kind("", ()))


def _meaning(kind: type[EimError]) -> str:
    """The first paragraph of its own docstring; the roots' are for programmers."""
    said = "" if kind.__bases__[0] in (Exception, EimError) else kind.__doc__
    return " ".join((said or _problem(kind).title + ".").partition("\n\n")[0].split()).replace("|", "\\|")


def _routes() -> Iterator[str]:
    """The table of the OpenAPI document; describing the endpoints calls none of the services behind them."""
    nothing = cast("dict[str, Any]", dict.fromkeys(OperatorServices.__struct_fields__))
    document = openapi.describe(endpoints_of(OperatorServices(**nothing)), version("eim"))
    yield "| call | scope | what |"
    yield "| --- | --- | --- |"
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            scope = re.search(r"`([^`]+)`", operation.get("description", ""))
            yield f"| `{method.upper()} {path}` | {f'`{scope[1]}`' if scope else ''} | {operation['summary']} |"


def _types() -> Iterator[str]:
    yield "| type | version | what happened | `data` |"
    yield "| --- | --- | --- | --- |"
    for kind in Happening:
        yield f"| `{kind.type}` | {kind.version} | {kind.meaning} | {_fields(DATA[kind])} |"


def _fields(data: type[msgspec.Struct]) -> str:
    """Its fields; those in brackets are there only where they say something."""
    fields = [(f"`{f.encode_name}`", f.required) for f in msgspec.structs.fields(data)]
    return ", ".join(name if required else f"({name})" for name, required in fields)


def _states() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    ways: dict[tuple[State | None, State], list[str]] = {}
    for move in MOVES:
        ways.setdefault((move.start, move.to), []).append(move.who.value)
    for (start, to), who in ways.items():
        yield f"    {start.value if start else '[*]'} --> {to.value}: {', '.join(dict.fromkeys(who))}"
    yield "```"
    yield ""
    yield "| state | what it means | next step |"
    yield "| --- | --- | --- |"
    for state, meaning in standing.STATES.items():
        yield f"| `{state.value}` | {meaning.means} | {meaning.next_step} |"


def _moves() -> Iterator[str]:
    yield "| from | to | by | because | event |"
    yield "| --- | --- | --- | --- | --- |"
    for move in MOVES:
        start, event = f"`{move.start.value}`" if move.start else "", f"`eim.{move.event}`" if move.event else ""
        yield f"| {start} | `{move.to.value}` | {move.who.value} | {move.why} | {event} |"


def _retries() -> Iterator[str]:
    yield "| reason | what it means | first pause | then | longest | tries more |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for reason, rule in retry.RULES.items():
        pauses = f"{_seconds(rule.first)} | x {rule.growth:g} | {_seconds(rule.longest)}"
        yield f"| `{reason}` | {explanations.REASONS[reason].means} | {pauses} | {rule.most} |"


def _seconds(many: float) -> str:
    return f"{many / 60:g} min"


def _put(text: str, name: str, table: str) -> str:
    """`text` with `table` between its marks."""
    begin, end = f"<!-- {name}: made by docs/make_reference.py; a test compares -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"


def run(arguments: list[str]) -> int:
    """Write the pages; with --check, only say whether they are current. For a process of its own: what another has
    loaded (a subclass of an error, a command's cached help) would show."""
    made = pages()
    if arguments == ["--check"]:
        return int(any(page.read_text() != content for page, content in made.items()))
    for page, content in made.items():
        page.write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
