-- 0027_expand_due.sql: indexes that find due work without looking at what has ended, is held, or comes later.
-- Safe beside the previous release: it uses the same indexes by the same conditions.

-- Which identity has accepted work in a bucket is one step, the oldest of it another: neither looks at the rest.
CREATE INDEX operations_sealable ON operations (bucket, identity, not_before, eid)
    INCLUDE (gate, kind, closes_at, priority, ordinal) WHERE state = 'accepted' AND held IS NULL;

-- What is in front of an eUICC, not all that ever was. Serves as packages_waiting did, which had the waiting ones only.
CREATE INDEX packages_in_front ON packages (bucket, eid, number) INCLUDE (gate, closes_at)
    WHERE state IN ('waiting', 'head');
DROP INDEX packages_waiting;
