-- 0017_expand_queues.sql: which workers are alive.
-- Safe beside the previous release: it adds, and rewrites no row. Workers of that release look at leases alone.

-- One row a worker process. While it is alive, what it holds is its own: one row is renewed and not a thousand.
CREATE TABLE workers (
    id uuid PRIMARY KEY, -- as leases.holder
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, DELETE ON workers TO eim_worker;
GRANT UPDATE (expires_at) ON workers TO eim_worker;
