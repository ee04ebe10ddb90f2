-- 0083_expand_queued.sql: which packages wait behind a head is said by a column of its own, which the end of a head
-- leaves as it is. Safe beside the previous release: a constant default rewrites no row, and what that release makes or
-- moves up is taken for one that may wait: `state` says whether it does.

ALTER TABLE packages ADD COLUMN queued boolean NOT NULL DEFAULT false; -- false: it doesn't wait, or not any more
ALTER TABLE packages ALTER COLUMN queued SET DEFAULT true; -- true: it does if `state` says so
UPDATE packages SET queued = true WHERE bucket >= 0 AND state = 'waiting';
GRANT UPDATE (queued) ON packages TO eim_device, eim_worker;
GRANT SELECT (queued) ON packages TO eim_operator;
