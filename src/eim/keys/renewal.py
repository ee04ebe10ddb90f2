"""A TLS port whose certificate changes while it serves: new handshakes get the new one, open connections stay."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import structlog

from eim.errors import KeyUnusable
from eim.keys.disk import read
from eim.keys.tls import Suites, TlsFiles, server_context

EVERY: Final = 3600.0  # seconds between two looks at the files

_log = structlog.get_logger()


class Renewal:
    """Guards the context of one port.

    files  gives the port's files, checked, and renews our own when that is due; raises KeyUnusable
    """

    def __init__(self, port: str, context: ssl.SSLContext, files: Callable[[], TlsFiles]) -> None:
        self._port = port
        self._context = context
        self._files = files
        self._asked = asyncio.Event()
        self._loaded = _content(files())

    def ask(self) -> None:
        """Look at the files now. Safe in a signal handler of the loop."""
        self._asked.set()

    async def run(self, every: float = EVERY) -> None:
        """Look at the files when asked, and from time to time, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(every):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            await asyncio.to_thread(self.renew)

    def renew(self) -> None:
        """Serve what the files hold now; what can't be served leaves everything as it is, with an error in the log."""
        try:
            files = self._files()
            content = _content(files)
            if content == self._loaded:
                return
            server_context(files, Suites.OPERATOR, ssl.TLSVersion.TLSv1_2)  # in a context of its own: may it serve?
            self._context.load_cert_chain(files.certificate, files.key)
        except (KeyUnusable, OSError, ssl.SSLError) as error:
            _log.error("tls.not_reloaded", port=self._port, why=str(error), serving="the certificate from before")
            return
        self._loaded = content
        _log.info("tls.reloaded", port=self._port, certificate=str(files.certificate))


def _content(files: TlsFiles) -> bytes:
    return read(files.certificate, "the TLS certificate") + read(files.key, "the TLS key")
