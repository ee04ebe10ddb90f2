"""Calls to receivers: which addresses are reached, by names that lie too, and over which TLS."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eim.connectors.transport import Resolve
from eim.connectors.webhooks import HttpSender, Outgoing
from eim.domain.webhook import Reach, Target, check_url
from eim.errors import InvalidRequest
from eim.keys.tls import make_ca_and_leaf
from eim.services.ports import Answered
from tests.receiver import Receiver, receiving

LOOPBACK = Reach((ipaddress.ip_network("127.0.0.0/8"),), plain=True)
NOWHERE = Reach(plain=True)
HEADERS = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}

IN_URLS = [
    *("127.0.0.1", "127.1", "127.0.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "0x7f000001", "017700000001"),
    *(
        "[::1]",
        "[::ffff:7f00:1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::]",
    ),
    *("0.0.0.0", "0", "169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "user@127.0.0.1", "user:pw@10.0.0.1", "example.com@127.0.0.1"),
    *("[fe80::1]", "[fe80::1%25lo]", "１２７.0.0.1", "127.0.0.1.", "%31%32%37.0.0.1", "127.0.0.1\\@example.com"),
]
BEHIND_NAMES = ["127.0.0.1", "::1", "::ffff:7f00:1", "169.254.169.254", "10.1.2.3", "192.168.1.1", "fd00::1", "0.0.0.0"]


def resolving(*answers: Sequence[str]) -> Resolve:
    """A resolver that gives these answers, one after the other; the last one for ever."""
    left = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


@asynccontextmanager
async def sender(reach: Reach, resolve: Resolve | None = None, trust: Path | None = None) -> AsyncIterator[HttpSender]:
    context = ssl.create_default_context(cafile=trust)
    async with HttpSender(Outgoing(reach, context, 2.0), resolve) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def post(made: HttpSender, host: str, port: int, scheme: str = "http") -> Answered:
    return await made.send(Target(scheme, host, port, "/"), HEADERS, b"{}")


@pytest.mark.parametrize("host", IN_URLS)
async def test_a_url_that_leads_inside_is_refused_when_it_is_made(host: str) -> None:
    with pytest.raises(InvalidRequest):
        check_url(f"https://{host}/", Reach())


@pytest.mark.parametrize("host", [host for host in IN_URLS if host.isascii() and "@" not in host and "%" not in host])
async def test_a_host_that_leads_inside_is_never_connected_to(receiver: Receiver, host: str) -> None:
    """Past the check of the URL, as in a row that an older release wrote; looked up by the real resolver."""
    async with sender(NOWHERE) as made:
        answered = await post(made, host.strip("[]"), receiver.port)
    assert answered.failure is not None
    assert answered.status is None
    assert receiver.connections == 0


@pytest.mark.parametrize("address", BEHIND_NAMES)
@pytest.mark.parametrize("name", ["rebind.example.com", "metadata.google.internal", "localhost"])
async def test_a_name_that_leads_inside_is_never_connected_to(receiver: Receiver, name: str, address: str) -> None:
    async with sender(NOWHERE, resolving([address])) as made:
        answered = await post(made, name, receiver.port)
    assert answered.failure == "it leads to an address that is not public (webhooks.allow_networks)"
    assert receiver.connections == 0


async def test_one_bad_address_among_good_ones_refuses_them_all(receiver: Receiver) -> None:
    async with sender(NOWHERE, resolving(["93.184.216.34", "127.0.0.1"])) as made:
        assert "not public" in str((await post(made, "mixed.example.com", receiver.port)).failure)
    assert receiver.connections == 0


async def test_a_name_is_looked_up_once_and_the_checked_address_is_what_is_connected_to(receiver: Receiver) -> None:
    """DNS rebinding: a second look-up would lead elsewhere, but there is none for one connection."""
    asked = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    async with sender(LOOPBACK, resolve) as made:
        assert await post(made, "rebind.example.com", receiver.port) == Answered(None, 204)
        assert asked == ["rebind.example.com"]
        receiver.drop()
        await asyncio.sleep(0.05)
        assert "not public" in str((await post(made, "rebind.example.com", receiver.port)).failure)
    assert receiver.connections == 1
    assert receiver.posts[0].headers["host"] == f"rebind.example.com:{receiver.port}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda _: status if status != 307 else "redirect"
    async with sender(LOOPBACK) as made:
        answered = await post(made, "127.0.0.1", receiver.port)
    assert answered == Answered(f"it redirects (status {status}), which is not followed", status)
    assert len(receiver.posts) == 1


async def test_plain_http_is_refused_unless_it_is_allowed(receiver: Receiver) -> None:
    async with sender(Reach(LOOPBACK.networks)) as made:
        assert "plain HTTP" in str((await post(made, "127.0.0.1", receiver.port)).failure)
    assert receiver.connections == 0
    with pytest.raises(InvalidRequest, match="https"):
        check_url("http://example.com/", Reach())


async def test_a_connection_is_used_again(receiver: Receiver) -> None:
    async with sender(LOOPBACK) as made:
        for _ in range(3):
            assert (await post(made, "127.0.0.1", receiver.port)).failure is None
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("answer", "failure"),
    [("slow", "no answer in time"), ("close", "the connection ended before an answer"), (500, "status 500")],
)
async def test_a_failure_is_told_in_our_words(receiver: Receiver, answer: str | int, failure: str) -> None:
    receiver.answer = lambda _: answer
    async with sender(LOOPBACK) as made:
        assert (await post(made, "127.0.0.1", receiver.port)).failure == failure


async def test_nobody_there_and_no_such_name_are_failures(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with sender(LOOPBACK) as made:
        assert (await post(made, "127.0.0.1", port)).failure == "no connection came about"
    async with sender(LOOPBACK, resolving([])) as made:
        assert (await post(made, "none.example.com", 80)).failure == "the name has no address"


@asynccontextmanager
async def behind_tls(folder: Path, names: Sequence[str]) -> AsyncIterator[tuple[Receiver, int, Path | None]]:
    files = make_ca_and_leaf(folder, names, datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    try:
        yield receiver, server.sockets[0].getsockname()[1], files.ca
    finally:
        server.close()
        receiver.drop()


async def test_over_tls_the_name_of_the_url_is_what_the_certificate_is_held_against(tmp_path: Path) -> None:
    async with behind_tls(tmp_path, ["hooks.example.com"]) as (receiver, port, ca):
        async with sender(LOOPBACK, resolving(["127.0.0.1"]), ca) as made:
            assert (await post(made, "hooks.example.com", port, "https")).failure is None
            wrong = await post(made, "other.example.com", port, "https")
        async with sender(LOOPBACK, resolving(["127.0.0.1"])) as strict:
            unknown = await post(strict, "hooks.example.com", port, "https")
        assert str(wrong.failure).startswith("its certificate is not believed")
        assert str(unknown.failure).startswith("its certificate is not believed")
        assert len(receiver.posts) == 1
