"""The file of known servers: name, address, token and CA of each. For its owner only; no token is ever printed."""

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from eim.errors import BadConfiguration, InvalidRequest

_FILE: Final = Path("eim") / "servers.toml"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Server(msgspec.Struct, frozen=True):
    """One installation, and who we are there."""

    server: str
    token: str
    ca: str | None = None  # the absolute path of a PEM file

    def __repr__(self) -> str:
        return f"Server(server={self.server!r}, ca={self.ca!r})"


class KnownServers(msgspec.Struct, frozen=True):
    """What the file says. `current`: the one that is meant when nothing else is said."""

    current: str | None = None
    servers: Mapping[str, Server] = {}

    def named(self, name: str) -> Server:
        """Raises InvalidRequest for a name that there is none of."""
        found = self.servers.get(name)
        if found is None:
            known = ", ".join(sorted(self.servers)) or "none yet"
            raise InvalidRequest(f"there is no server {name!r}: known are {known} (eim servers add)")
        return found


def place() -> Path | None:
    """Where the file is: $EIM_SERVERS_FILE, $XDG_CONFIG_HOME/eim/servers.toml or ~/.config/eim/servers.toml; None
    where nothing of these is set."""
    if said := os.environ.get("EIM_SERVERS_FILE"):
        return Path(said)
    if config := os.environ.get("XDG_CONFIG_HOME"):
        return Path(config) / _FILE
    home = os.environ.get("HOME")
    return Path(home) / ".config" / _FILE if home else None


def read() -> KnownServers:
    """What is known; nothing, where there is no file. Raises BadConfiguration for one that can't be used."""
    path = place()
    try:
        if path is None or not path.is_file():
            return KnownServers()
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BadConfiguration(f"{path} holds tokens and others may read it: chmod 600 {path}")
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), KnownServers)
    except (OSError, ValueError) as error:  # also TOML that is none, and text that is none
        raise BadConfiguration(f"{path} is no list of servers: {_brief(error)}") from None


def add(name: str, server: Server) -> KnownServers:
    """Add it or put it in the place of its predecessor; the first one becomes the current one."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest("a server's name has 1 to 64 letters, digits, '.', '_' and '-'")
    known = read()
    return _write(KnownServers(known.current or name, {**known.servers, name: server}))


def use(name: str) -> KnownServers:
    known = read()
    known.named(name)
    return _write(KnownServers(name, known.servers))


def remove(name: str) -> KnownServers:
    known = read()
    known.named(name)
    left = {other: server for other, server in known.servers.items() if other != name}
    return _write(KnownServers(None if known.current == name else known.current, left))


def _write(known: KnownServers) -> KnownServers:
    """Replace the file in one step: who reads meanwhile sees the old or the new one."""
    path = place()
    if path is None:
        raise BadConfiguration("there is no home to keep servers in: set EIM_SERVERS_FILE to a file's path")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(_toml(known))
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise BadConfiguration(f"{path} can't be written: {error.strerror}") from None
    return known


def _toml(known: KnownServers) -> str:
    """JSON's strings are TOML's."""
    lines = ["# Made by `eim servers`. It holds tokens: for its owner only."]
    lines += [f"current = {json.dumps(known.current)}"] if known.current else []
    for name, server in sorted(known.servers.items()):
        lines += ["", f"[servers.{json.dumps(name)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in msgspec.to_builtins(server).items() if value]
    return "\n".join(lines) + "\n"


def _brief(error: Exception) -> str:
    """The first line of what is wrong, without a value: it could be a token."""
    return "it can't be read" if isinstance(error, OSError) else str(error).splitlines()[0].partition("=")[0]
