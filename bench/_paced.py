"""wrk at a pace: so many requests a second over keep-alive TLS, each connection after a pause of random length.

With many connections and few requests under way that is an open load: a slow answer delays nobody else's request.
wrk counts what a stall would have delayed, too.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench._load import wrk

CONNECTIONS: Final = 128
_CONNECTING_S: Final = 1.0  # all handshakes are over before the first request
_SCRIPT: Final = """
local requests, at, mean, connections, asked = {}, 0, 0, 0, 0
function init(args)
    local file = io.open(args[1], "rb")
    local data = file:read("*a")
    file:close()
    local from = 1
    while from <= #data do
        local size = tonumber(data:sub(from, from + 7))
        requests[#requests + 1] = data:sub(from + 8, from + 7 + size)
        from = from + 8 + size
    end
    mean, connections = tonumber(args[2]), tonumber(args[3])
    math.randomseed(tonumber(args[4]))
end
function request()
    at = at % #requests + 1
    return requests[at]
end
function pause()
    asked = asked + 1
    local first = asked <= connections and CONNECTING or 0
    return first + math.floor(-mean * math.log(1 - math.random()) + 0.5)
end
function done(summary, latency, each)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format('{"requests": %d, "failed": %d, "p50": %.1f, "p99": %.1f, "p999": %.1f}\\n',
        summary.requests, failed, latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


class Seen(msgspec.Struct, frozen=True):
    """What one run of wrk saw."""

    rate: float  # requests a second
    p50: float  # milliseconds
    p99: float
    p999: float


class Requests:
    """Whole HTTP requests that wrk sends in turn. Guards the files it reads."""

    def __init__(self, requests: Sequence[bytes], connections: int = CONNECTIONS) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="eim-load-")
        self._connections = connections
        self._file = Path(self._folder.name) / "requests"
        with self._file.open("wb") as file:
            file.writelines(b"%08d%b" % (len(request), request) for request in requests)

    def close(self) -> None:
        self._folder.cleanup()

    async def saturating(self, url: str, seconds: int) -> Seen:
        """Each connection asks again as soon as it is answered."""
        return await self._run(url, seconds, None)

    async def paced(self, url: str, seconds: int, rate: float) -> Seen:
        """About `rate` requests a second."""
        return await self._run(url, seconds, self._connections / rate * 1e3)

    async def _run(self, url: str, seconds: int, mean: float | None) -> Seen:
        program = wrk()
        assert program is not None, "wrk is not installed"
        script = _SCRIPT.replace("CONNECTING", str(round(_CONNECTING_S * 1e3)))
        if mean is not None:
            script = script.replace("function pause", "function delay")
        file = Path(self._folder.name) / "load.lua"
        file.write_text(script)
        whole = seconds + (0 if mean is None else round(_CONNECTING_S))
        command = [program, "-t1", f"-c{self._connections}", f"-d{whole}s", "--timeout", "30s", "-s", str(file), url]
        process = await asyncio.create_subprocess_exec(
            *command, "--", str(self._file), str(mean or 0), str(self._connections), "1", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        done = json.loads(said.splitlines()[-1])
        if done["failed"] or not done["requests"]:
            raise RuntimeError(f"{url}: {done['failed']} of {done['requests']} requests failed")
        return Seen(done["requests"] / seconds, done["p50"] / 1e3, done["p99"] / 1e3, done["p999"] / 1e3)
