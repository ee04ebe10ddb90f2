"""What is counted and measured in this process; `exporters` shows it. Everyone may import it: it knows nothing of ours.

Labels are few and bounded: lanes, kinds of rounds, outcomes; of tenants the largest and "other".
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()

NOTIFICATIONS: Final = Counter(
    "eim_notifications_total",
    "Notifications by what became of them: sorted, held, delivered, failed, delayed.",
    ["what"],
    registry=REGISTRY,
)
LEASES_HELD: Final = Gauge("eim_leases_held", "Buckets that this worker holds, of 1,024.", registry=REGISTRY)
LEASES_LOST: Final = Counter(
    "eim_leases_lost_total",
    "Buckets that were taken over although this worker had not given them up.",
    registry=REGISTRY,
)
WORKERS_ALIVE: Final = Gauge("eim_workers_alive", "Workers that are alive, as this one sees it.", registry=REGISTRY)
ROUNDS: Final = Counter(
    "eim_worker_rounds_total",
    "Rounds by lane and how they ended: worked, idle, contended, lease_lost, unavailable.",
    ["lane", "ended"],
    registry=REGISTRY,
)
SEALED: Final = Counter(
    "eim_sealed_total", "eUICCs that a batch sealed packages for, by lane.", ["lane"], registry=REGISTRY
)
SEALING: Final = Histogram(
    "eim_seal_batch_seconds",
    "Seconds that one batch took to be sealed, its commit included, by lane.",
    ["lane"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    registry=REGISTRY,
)
SEAL_FAULTS: Final = Counter(
    "eim_seal_faults_total",
    "Operations that could not be sealed and are left alone for a while.",
    ["lane"],
    registry=REGISTRY,
)
DUE: Final = Gauge(
    "eim_queue_due",
    "Operations due and not sealed, in the buckets of this worker.",
    ["tenant", "lane"],
    registry=REGISTRY,
)
DUE_AGE: Final = Gauge(
    "eim_queue_oldest_seconds",
    "Seconds for which the oldest operation is due and not sealed, in the buckets of this worker.",
    ["tenant", "lane"],
    registry=REGISTRY,
)
