"""`eim decode`: any message of SGP.32 and SGP.22 as a tree."""

import base64
import binascii
import re
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from eim.protocol.explain import Covered, Entry, Explanation, Secrets, explain

_SECRETS: Final = {True: Secrets.SHOWN, False: Secrets.HIDDEN}  # by --show-secrets
_HEAD: Final = re.compile(rb"(?:POST |HTTP/).*?\r?\n\r?\n", re.DOTALL)  # an HTTP head, as a capture has it
_PEM: Final = re.compile(rb"-----(?:BEGIN|END)[^-]*-----")
_BETWEEN: Final = re.compile(rb"[\s:,_'\"|]+")
_LONG: Final = 32  # octets of a raw value that one line shows
_MOST: Final = 8 * 1024 * 1024  # octets of input


@click.command()
@click.argument("message", nargs=-1, required=True, metavar="HEX|FILE|-")
@click.option("--show-secrets", is_flag=True, help="Show activation codes, matching ids and hashed confirmation codes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of a tree.")
def decode(message: tuple[str, ...], *, show_secrets: bool, as_json: bool) -> None:
    """Print a message of SGP.32 or SGP.22 as a tree: offset, tag, the standard's name, value.

    The message is hex (blanks don't matter), base64, or a file of either, of the octets themselves, or of a whole
    HTTP message; - reads standard input. A broken message is shown as far as it can be read, and where it breaks.
    Exit code 1: nothing could be read, or it broke.
    """
    told = explain(_octets(message), _SECRETS[show_secrets])
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    else:
        click.echo("\n".join(lines(told)))
    if not told.entries or _breaks(told.entries):
        click.get_current_context().exit(1)


def lines(told: Explanation) -> list[str]:
    """The tree, a line an entry; below it what a signature covers and what is wrong."""
    width = len(str(told.size))
    found = [line for entry in told.entries for line in _lines(entry, 0, width)]
    if not told.entries:
        found.append("no TLV can be read here")
    if told.trailing:
        many = told.size - told.end
        found.append(f"the message ends at octet {told.end}; {many} more don't belong to it: {_short(told.trailing)}")
    return found


def _lines(entry: Entry, level: int, width: int) -> list[str]:
    margin = "  " * level
    head = f"{entry.offset:>{width}}  {margin}{entry.tag or '??'}  {entry.name or '(unknown)'}"
    said = entry.value if entry.value is not None else _short(entry.hex or "")
    found = [f"{head}: {said}" if said else head]
    below = " " * width + f"  {margin}  "
    if entry.covers is not None:
        found.append(below + _covered(entry.covers))
    found += [f"{below}! {note}" for note in entry.notes]
    return found + [line for inner in entry.entries for line in _lines(inner, level + 1, width)]


def _covered(covers: Covered) -> str:
    what = f"octets {covers.start}..{covers.end} ({covers.what})" if covers.end is not None else covers.what
    return f"over {what}" + (f" || {covers.then}" if covers.then else "")


def _short(text: str) -> str:
    size = len(text) // 2
    return text if size <= _LONG else f"{text[: 2 * _LONG]}.. ({size} octets)"


def _breaks(entries: tuple[Entry, ...]) -> bool:
    return any(entry.broken or _breaks(entry.entries) for entry in entries)


def _octets(message: tuple[str, ...]) -> bytes:
    """What is meant by the words: standard input, a file, or the message itself."""
    if message == ("-",):
        return _read(sys.stdin.buffer.read(_MOST))
    if len(message) == 1 and _is_file(message[0]):
        return _read(Path(message[0]).read_bytes()[:_MOST])
    text = "".join(message).encode()
    found = _from_text(text)
    if found is None:
        raise click.UsageError("this is neither hex nor base64, and there is no such file")
    return found


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def _read(octets: bytes) -> bytes:
    """The octets of a file: text that spells them, or themselves; behind an HTTP head if there is one."""
    body = _HEAD.sub(b"", octets, count=1) if _HEAD.match(octets) else octets
    found = _from_text(body) if body.isascii() else None
    return found if found is not None else body


def _from_text(text: bytes) -> bytes | None:
    packed = _BETWEEN.sub(b"", _PEM.sub(b"", text)).removeprefix(b"0x")
    try:
        return bytes.fromhex(packed.decode("ascii"))
    except ValueError:
        pass
    try:
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        return None
