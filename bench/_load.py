"""A load of polls that is cheaper to make than to answer: wrk with a script, else this process's own connections.

The client's CPU time is never counted; what matters is that it leaves the server busy.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench._https import request
from bench._measuring import Done
from eim.domain.ids import Eid

_PATIENT: Final = ("--timeout", "30s")  # a busy machine answers late; that is no failure
_ANY: Final = Eid(bytes(range(16)))
_SCRIPT: Final = """
local data, count, at
function init(args)
    local file = io.open(args[1], "rb")
    data = file:read("*a")
    file:close()
    count, at = #data / 16, tonumber(args[2])
end
function request()
    at = at % count + 1
    return "{head}" .. data:sub(at * 16 - 15, at * 16) .. "{tail}"
end
function done(summary, latency, requests)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format('{{"requests": %d, "failed": %d, "p50": %d, "p99": %d}}\\n',
        summary.requests, failed, latency:percentile(50), latency:percentile(99)))
end
"""


def wrk() -> str | None:
    """The path of wrk, where it is installed."""
    return shutil.which("wrk")


class Load:
    """Polls of `eids`, one after the other in turn over all calls. Guards the files that wrk reads."""

    def __init__(self, eids: Sequence[Eid], connections: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="eim-load-")
        self._script = Path(self._folder.name) / "polls.lua"
        self._eids = Path(self._folder.name) / "eids"
        self._count = len(eids)
        self._at = 0
        self._connections = connections
        head, tail = request(_ANY).split(_ANY)
        self._script.write_text(_SCRIPT.format(head=_lua(head), tail=_lua(tail)))
        self._eids.write_bytes(b"".join(eids))

    def close(self) -> None:
        self._folder.cleanup()

    async def polls(self, url: str, seconds: float) -> Done:
        """As many polls as `url` answers in `seconds`, whole ones. Raises RuntimeError when one fails."""
        program = wrk()
        assert program is not None, "wrk is not installed"
        command = [program, "-t1", f"-c{self._connections}", f"-d{max(1, round(seconds))}s", *_PATIENT]
        command += ["-s", str(self._script)]
        process = await asyncio.create_subprocess_exec(
            *command, url, "--", str(self._eids), str(self._at), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        done = json.loads(said.splitlines()[-1])
        if done["failed"] or not done["requests"]:
            raise RuntimeError(f"{url}: {done['failed']} of {done['requests']} polls failed")
        self._at = (self._at + done["requests"]) % self._count
        return Done(done["requests"], (done["p50"] / 1e6, done["p99"] / 1e6))


def _lua(octets: bytes) -> str:
    return "".join(f"\\{octet:03d}" for octet in octets)
