"""What others made: notifications of another IPA and its card, and the TLS certificates of SGP.26's SM-DP+."""

import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eim import credentials
from eim.config import Config, Notifications, Server
from eim.connectors.rsp import Es9Plus
from eim.connectors.transport import Transport, Trusting
from eim.domain.ids import bucket_of, format_eid
from eim.domain.smdp import Binding, RootsOf, Smdp
from eim.domain.webhook import Network
from eim.keys.tls import Suites, make_ca_and_leaf, server_context, smdp_context
from eim.protocol.ecdsa import Curve
from eim.protocol.esipa import Notified, receive
from eim.protocol.trust import check_smdp_tls, load_roots
from eim.services.onboarding import Candidate, Rules
from eim.services.tokens import SETUP
from eim.sim.pki import Pki
from eim.sim.servers import SmdpServer, serving
from eim.store import forwarding
from eim.store.connect import acquire
from tests.database import Database
from tests.esipa import captured
from tests.services import rig as rigs
from tests.services.smdp_side import QUICK, SmdpSide, smdp_side, to_this_machine

SGP26 = captured.CI.parents[1]
NAME = "testsmdpplus1.example.com"
needs_sgp26 = pytest.mark.skipif(not SGP26.is_dir(), reason="the SGP.26 certificates are not beside this checkout")
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
async def side(database: Database, tmp_path: Path) -> AsyncIterator[SmdpSide]:
    rig = await rigs.start(database, 1)
    candidate = Candidate(eid=format_eid(captured.EID))
    await rig.onboarding.add(SETUP, candidate, Rules(), None)
    async with smdp_side(rig, tmp_path) as made:
        yield made


@needs_sgp26
async def test_captured_notifications_go_as_they_are_and_are_verified(side: SmdpSide) -> None:
    side.rig.results._roots = load_roots([captured.CI.read_bytes()])
    requests = [captured.numbered(number, "request") for number in (52, 53, 59)]
    for request in requests:
        assert await side.rig.send(request, captured.EID) is None  # 204
    rows = await side.rig.database.owner().fetch("SELECT octets, verdict, address FROM notifications")
    assert {row["verdict"] for row in rows} == {"verified"}
    assert {row["address"] for row in rows} == {NAME}
    assert all(any(row["octets"] in request for request in requests) for row in rows)
    await side.allow(NAME)
    await side.forwarder()._look()
    async with acquire(side.worker) as db:
        due = await forwarding.due(db, [bucket_of(captured.EID)], NAME, True, 10)
    assert {each.octets for each in due} <= {row["octets"] for row in rows}
    assert due


@needs_sgp26
@pytest.mark.parametrize(("curve", "roots"), [("nist", RootsOf.GSMA), ("brp", RootsOf.GSMA_BRAINPOOL)])
@pytest.mark.parametrize("binding", Binding)
async def test_a_server_with_the_certificate_of_sgp26_is_believed(
    tmp_path: Path, curve: str, roots: RootsOf, binding: Binding
) -> None:
    folder, suffix = SGP26 / f"generated-{curve}", curve.upper()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = ssl.DER_cert_to_PEM_cert((folder / f"CERT_S_SM_DP_TLS_2054_{suffix}.der").read_bytes())
    (tmp_path / "dp.pem").write_text(certificate + (folder / f"SK_S_SM_DP_TLS_2054_{suffix}.pem").read_text())
    if roots is RootsOf.GSMA_BRAINPOOL:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ecdh_curve("brainpoolP256r1")
    context.load_cert_chain(tmp_path / "dp.pem")
    ci = load_roots([(SGP26 / f"v1.5-{curve}" / f"CERT_CI_ECDSA_{suffix}.der").read_bytes()])
    trusting = {
        roots.value: Trusting(smdp_context(ci, Curve.BRAINPOOL if curve == "brp" else Curve.P256), check_smdp_tls)
    }
    octets = _captured()
    async with (
        serving(SmdpServer(Pki.new()), context) as server,
        Transport(trusting, QUICK, to_this_machine) as transport,
    ):
        smdp = Smdp(f"{NAME}:{server.port}", binding, roots, LOOPBACK)
        answered = await Es9Plus(transport).handle_notification(smdp, octets)
    assert (answered.failure, answered.status) == (None, 204)
    assert [given.octets for given in server.given] == [octets]


async def test_web_roots_are_those_of_the_configuration_and_prove_no_smdp_under_gsma(tmp_path: Path) -> None:
    files = make_ca_and_leaf(tmp_path / "tls", [NAME], rigs.now())
    assert files.ca is not None
    (tmp_path / "root.pem").write_bytes(files.ca.read_bytes())
    config = Config(Server(data_dir=tmp_path), notifications=Notifications(trust=(files.ca,)))
    context = server_context(files, Suites.OPERATOR, ssl.TLSVersion.TLSv1_2)
    found = {}
    async with (
        serving(SmdpServer(Pki.new()), context) as server,
        Transport(credentials.smdp_trust(config), QUICK, to_this_machine) as transport,
    ):
        for roots in RootsOf:
            smdp = Smdp(f"{NAME}:{server.port}", Binding.JSON, roots, LOOPBACK)
            found[roots] = await Es9Plus(transport).handle_notification(smdp, _captured())
    assert found[RootsOf.WEB].failure is None
    assert found[RootsOf.GSMA].status is found[RootsOf.GSMA_BRAINPOOL].status is None
    assert len(server.given) == 1


def _captured() -> bytes:
    received = receive(captured.numbered(52, "request"))
    assert isinstance(received, Notified)
    return received.notification.raw
