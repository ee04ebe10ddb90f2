import _ssl
import ssl

import pytest

from eim._fast import tls

HEAD = object.__basicsize__
KEYS = bytes(range(80))


@pytest.fixture
def context() -> ssl.SSLContext:
    assert tls.bind(_ssl.__file__)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_a_context_is_seen_as_python_sees_it(context: ssl.SSLContext) -> None:
    for option, verified in ((ssl.OP_NO_TICKET, ssl.CERT_NONE), (ssl.OP_NO_COMPRESSION, ssl.CERT_REQUIRED)):
        context.options ^= option
        context.verify_mode = verified
        options, _ = tls.seen(context, HEAD)
        assert options == context.options
    assert tls.seen(context, HEAD)[1] == 3  # SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT


def test_ticket_keys_are_set_and_read_back_for_this_context_only(context: ssl.SSLContext) -> None:
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert tls.set_ticket_keys(context, HEAD, KEYS)
    assert tls.ticket_keys(context, HEAD) == KEYS
    assert tls.ticket_keys(other, HEAD) not in (None, KEYS)


def test_groups_are_taken_when_libssl_knows_them(context: ssl.SSLContext) -> None:
    assert tls.set_groups(context, HEAD, b"X25519:P-256:brainpoolP256r1")
    assert not tls.set_groups(context, HEAD, b"P-256:nonsense")


@pytest.mark.parametrize("keys", [b"", KEYS[:-1], KEYS + b"\x00"])
def test_keys_of_another_length_are_refused(context: ssl.SSLContext, keys: bytes) -> None:
    with pytest.raises(ValueError, match="80 octets"):
        tls.set_ticket_keys(context, HEAD, keys)


@pytest.mark.parametrize("other", [object(), 17, None, b""])
def test_what_is_too_small_to_be_a_context_is_not_read(context: ssl.SSLContext, other: object) -> None:
    assert context is not None
    with pytest.raises(ValueError, match="no context"):
        tls.address(other, HEAD + 1024)


def test_without_a_libssl_nothing_is_bound_and_nothing_set(context: ssl.SSLContext) -> None:
    try:
        assert not tls.bind("/nowhere/libssl.so.3")
        with pytest.raises(ValueError, match="no libssl"):
            tls.set_ticket_keys(context, HEAD, KEYS)
    finally:
        assert tls.bind(_ssl.__file__)
