"""What a poll costs through the door on kept connections, among very many eUICCs of which one in fifty has a package.

Beside it, in turn: nginx that returns as many constant octets; the same device role behind Hypercorn and Starlette;
the same door without the memory of who found nothing (`device.remember_nothing` = 0), which asks the database for every
poll; and that one with a question for each poll instead of one for all that came meanwhile.
"""

import asyncio
import random
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench import _nginx
from bench._crowd import eid_of, fill
from bench._estate import database, postgres, vacuum
from bench._https import environment_of, started
from bench._load import Load
from bench._measuring import Contender, Cpu, Done, Score, Size, compete, conditions, cpu_of, line, size
from bench._records import cost, record
from eim import app, credentials
from eim.config_loading import load
from eim.domain.ids import Eid
from tests.database import Database

_STANDARD: Final = Size(rounds=5, operations=3, euiccs=1_000_000)  # operations: seconds of load a round
_CONNECTIONS: Final = 64
_ONE_IN: Final = 50  # has a package
_SETTLE: Final = 3.0  # seconds in which what a round left in memory is written, and counted
_PATIENCE: Final = 30.0  # seconds
_ASKED: Final = 5_000  # EIDs that poll in turn, again and again, of all
_ASKED_ALWAYS: Final = {"EIM_DEVICE_REMEMBER_NOTHING": "0"}
_SETTINGS: Final = {
    "hypercorn": {"EIM_DEVICE_DOOR": "hypercorn"},
    "asked": _ASKED_ALWAYS,
    "single": _ASKED_ALWAYS | {"EIM_DATABASE_DEVICE_POOL": "16"},  # each of its lanes holds one
}


class Place(msgspec.Struct, frozen=True):
    """A server, its address and its CPU time by process."""

    url: str
    parts: Mapping[str, Cpu]

    def cpu(self) -> float:
        return sum(cpu() for cpu in self.parts.values())


@contextmanager
def places(made: Database, names: Sequence[str]) -> Iterator[dict[str, Place]]:
    """Servers by name: nginx and nginx-tls, where there is one, door, asked, single and hypercorn; those over TLS."""
    with tempfile.TemporaryDirectory(prefix="eim-bench-") as name, ExitStack() as stack:
        environment = environment_of(Path(name), made)
        config = load(None, environment).config
        files = credentials.device_tls(config, credentials.own_identity(config), app.now())
        found = {}
        for each in names:
            if each.startswith("nginx"):
                continue
            shape = [] if each.endswith("-tls") else ["plain", "single"] if each == "single" else ["plain"]
            more = _SETTINGS.get(each.removesuffix("-tls"), {})
            server = stack.enter_context(started(["bench._role"], environment | more, files, shape))
            scheme = "http" if shape else "https"
            found[each] = Place(
                f"{scheme}://localhost:{server.port}",
                {"server": cpu_of(partial(_alone, server.pid)), "postgres": cpu_of(postgres)},
            )
        program = _nginx.found()
        if program is not None:
            nginx = stack.enter_context(_nginx.running(program, files.certificate, files.key))
            found |= {
                "nginx": Place(f"http://localhost:{nginx.http}", {"server": nginx.cpu}),
                "nginx-tls": Place(f"https://localhost:{nginx.tls}", {"server": nginx.cpu}),
            }
        for place in found.values():
            _wait_for(place.url)
        yield {each: found[each] for each in names if each in found}


def _alone(pid: int) -> list[int]:
    return [pid]


def _wait_for(url: str) -> None:
    """Until it answers at all: a role takes seconds to start on a busy machine."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"{url}/healthz", timeout=_PATIENCE, context=context):
        pass


def asked(euiccs: int) -> list[Eid]:
    """Who polls, in the order they do."""
    draw = random.Random(1)
    return [eid_of(draw.randint(1, euiccs)) for _ in range(_ASKED)]


async def measured(made: Database, names: Sequence[str], wanted: Size) -> dict[str, Score]:
    """Each of `names` under load in turn."""
    load = Load(asked(wanted.euiccs), _CONNECTIONS)

    def contender(name: str, place: Place) -> Contender:
        async def work() -> Done:
            done = await load.polls(place.url, wanted.operations)
            if "postgres" in place.parts:
                await asyncio.sleep(_SETTLE)
            return done

        return Contender(name, work, place.cpu, parts=place.parts)

    try:
        with places(made, names) as found:
            return await compete([contender(name, place) for name, place in found.items()], wanted.rounds)
    finally:
        load.close()


def report(scores: Mapping[str, Score], wanted: Size) -> None:
    """The lines and records."""
    about = conditions(
        f"{_CONNECTIONS} connections", f"{wanted.euiccs:,} eUICCs", f"a package for one in {_ONE_IN}",
        f"{wanted.rounds} rounds of {wanted.operations} s", "Postgres counted",
    )  # fmt: skip
    for name, score in scores.items():
        split = ", ".join(f"{part} {score.micros_of(part):.1f}" for part in score.parts)
        line(name, f"{score.micros:.1f} us a poll ({split})")
    for key, name, base in (
        ("poll_http", "door", "nginx"),
        ("poll_tls", "door-tls", "nginx-tls"),
        ("poll_http_asked", "asked", "nginx"),
        ("poll_tls_asked", "asked-tls", "nginx-tls"),
        ("door", "door", "hypercorn"),
        ("gathered", "asked", "single"),
    ):
        if name in scores and base in scores:
            ours, theirs = scores[name], scores[base]
            line(key, f"{ours.beside(theirs):.2f}x", f"{ours.micros:.1f} us against {theirs.micros:.1f} of {base}")
            memory = "every poll asked for" if name.startswith("asked") else "with memory, as by default"
            record(key, ours.micros, theirs.micros, ours.beside(theirs), f"{memory}, {about}")
    if "door-tls" in scores:
        cost("poll_tls", scores["door-tls"].micros_of("server"), scores["door-tls"].micros_of("postgres"), about)
    line("conditions", about)


async def main(wanted: Size) -> None:
    names = ["nginx", "door", "asked", "nginx-tls", "door-tls", "asked-tls", "hypercorn", "single"]
    async with database() as made:
        await fill(made, wanted.euiccs, _ONE_IN)
        await vacuum(made)
        report(await measured(made, names, wanted), wanted)


if __name__ == "__main__":
    uvloop.run(main(size(_STANDARD)))
