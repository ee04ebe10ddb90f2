"""The gauges of the queues: what they count, and that their labels are few."""

from prometheus_client import generate_latest

from eim.instruments import REGISTRY
from eim.services.gauging import TENANTS, Gauging, few
from eim.store.connect import DbRole
from eim.store.due import Depth
from tests.services.test_queues import Queue, queue

__all__ = ["queue"]


def test_only_the_longest_queues_have_a_line_of_their_own() -> None:
    depths = [Depth(f"t{n}", slow=n % 2 == 0, due=n, oldest=float(n)) for n in range(1, 101)]
    found = few(depths)
    assert len(found) == TENANTS + 2
    assert {each.tenant for each in found[:TENANTS]} == {f"t{n}" for n in range(81, 101)}
    assert found[TENANTS:] == [
        Depth("other", False, sum(range(1, 81, 2)), 79.0),
        Depth("other", True, sum(range(2, 81, 2)), 80.0),
    ]


async def test_what_is_due_and_for_how_long_is_gauged_by_tenant_and_lane(queue: Queue) -> None:
    await queue.identity(1, 30)
    await queue.identity(2, 4, tenant=2, curve="brainpoolP256r1")
    await queue.owner.execute("UPDATE operations SET not_before = now() - interval '90 s' WHERE tenant = 2")
    gauging = Gauging(queue.database.pool(DbRole.WORKER), queue.leasing)
    await gauging.gauge()
    said = generate_latest(REGISTRY).decode()
    assert 'eim_queue_due{lane="P-256",tenant="default"} 30.0' in said
    assert 'eim_queue_due{lane="brainpoolP256r1",tenant="2"} 4.0' in said
    age = REGISTRY.get_sample_value("eim_queue_oldest_seconds", {"tenant": "2", "lane": "brainpoolP256r1"})
    assert age is not None
    assert 90 <= age < 120
    while await queue.worker.round():
        pass
    await gauging.gauge()
    assert "eim_queue_due{" not in generate_latest(REGISTRY).decode()
    assert 'eim_sealed_total{lane="P-256"}' in generate_latest(REGISTRY).decode()
    assert REGISTRY.get_sample_value("eim_leases_held") == 1024
