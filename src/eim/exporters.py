"""Shows what `instruments` measures: `GET /metrics` in the text format of Prometheus, on a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import ProcessCollector, start_http_server

from eim.errors import BadConfiguration
from eim.instruments import REGISTRY

_log = structlog.get_logger()


@contextmanager
def exposed(host: str, port: int | None) -> Iterator[None]:
    """Answer on `port` meanwhile, from a thread; None: not at all. Raises BadConfiguration."""
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, REGISTRY)
    except OSError as error:
        raise BadConfiguration(
            f"worker.metrics_port: can't listen on {host} port {port} ({error.strerror}): "
            "stop what uses it, or write another one"
        ) from None
    process = ProcessCollector(registry=REGISTRY)
    _log.info("metrics.exposed", host=host, port=server.server_port)
    try:
        yield
    finally:
        REGISTRY.unregister(process)
        server.shutdown()
        server.server_close()
        thread.join()
