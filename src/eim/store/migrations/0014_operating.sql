-- 0014_operating.sql: the counter jump after a restore, and how far it is. Safe beside the previous release: it adds,
-- and rewrites no row.

-- A jump goes bucket by bucket, each in one transaction with its place here: killed at any point, it goes on there.
CREATE TABLE counter_jumps (
    id uuid PRIMARY KEY,
    margin integer NOT NULL CHECK (margin BETWEEN 1 AND 1000000),
    next_bucket smallint NOT NULL DEFAULT 0, -- 1024: all are done
    euiccs bigint NOT NULL DEFAULT 0, -- raised so far
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE UNIQUE INDEX counter_jumps_one_at_a_time ON counter_jumps ((finished_at IS NULL)) WHERE finished_at IS NULL;
GRANT SELECT, INSERT ON counter_jumps TO eim_worker;
GRANT UPDATE (next_bucket, euiccs, finished_at) ON counter_jumps TO eim_worker;
