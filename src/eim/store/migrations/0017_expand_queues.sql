-- 0017_expand_queues.sql: which workers are alive, how often sealing failed, and the index that finds due work.
-- Safe beside the previous release: it adds, and rewrites no row. Workers of that release look at leases alone.

-- One row a worker process. While it is alive, what it holds is its own: one row is renewed and not a thousand.
CREATE TABLE workers (
    id uuid PRIMARY KEY, -- as leases.holder
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, DELETE ON workers TO eim_worker;
GRANT UPDATE (expires_at) ON workers TO eim_worker;

-- How often it could not be sealed although it was due; such an operation is left alone for longer each time.
ALTER TABLE operations ADD COLUMN seal_faults smallint NOT NULL DEFAULT 0;
GRANT UPDATE (seal_faults) ON operations TO eim_worker;

-- Which identity has accepted work in a bucket is one step, the oldest of it another: neither looks at the rest.
CREATE INDEX operations_sealable ON operations (bucket, identity, not_before, eid) INCLUDE (gate, kind, tenant)
    WHERE state = 'accepted';
