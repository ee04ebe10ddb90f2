-- 0021_expand_life.sql: what an operation waits for, when it may go out, how often it is tried (design 3.1 to 3.3).
-- Safe beside the previous release: new columns are NULL or have a constant default, so no row is rewritten; what the
-- previous release places waits for nothing. The indexes are partial, and no row is in them yet.

ALTER TABLE operations ADD COLUMN after uuid; -- the operation of the same eUICC that has to be done before
ALTER TABLE operations ADD COLUMN after_event text; -- contact, or the kind of event that has to happen before
ALTER TABLE operations ADD COLUMN held text; -- what it waits for now: operation, contact, event, operator; NULL: nothing
ALTER TABLE operations ADD COLUMN opening text; -- its daily or weekly window; NULL: always open
ALTER TABLE operations ADD COLUMN closes_at timestamptz; -- the end of the window that not_before lies in
ALTER TABLE operations ADD COLUMN retries smallint; -- tries more at most, whatever the reason; NULL: by the reason
ALTER TABLE operations ADD COLUMN attempts smallint NOT NULL DEFAULT 0; -- tries that ended so that another one follows
ALTER TABLE operations ADD COLUMN faults smallint NOT NULL DEFAULT 0; -- how often in a row it could not be worked on
ALTER TABLE operations ADD COLUMN parked text; -- why it is held for an operator
ALTER TABLE packages ADD COLUMN closes_at timestamptz;
ALTER TABLE mailbox ADD COLUMN closes_at timestamptz; -- the head is handed out before this only; NULL: always

CREATE INDEX operations_after ON operations (bucket, after) WHERE after IS NOT NULL;
CREATE INDEX operations_held ON operations (bucket, eid) WHERE held IS NOT NULL AND state = 'accepted';
CREATE INDEX operations_closing ON operations (bucket, closes_at)
    WHERE closes_at IS NOT NULL AND state IN ('accepted', 'sealed', 'out');

-- As before, with the window's end.
CREATE OR REPLACE FUNCTION move_up(of_bucket smallint, of_eid bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    former bigint;
    next packages%ROWTYPE;
BEGIN
    SELECT m.number INTO former FROM mailbox m WHERE m.bucket = of_bucket AND m.eid = of_eid FOR UPDATE;
    -- One package out per eUICC: a head that nobody ended or unsealed stays.
    IF EXISTS (SELECT 1 FROM packages p
                WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.number = former AND p.state = 'head') THEN
        RAISE EXCEPTION 'package % is still the head: end it first', former USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT p.* INTO next FROM packages p
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.state = 'waiting'
     ORDER BY p.number LIMIT 1;
    UPDATE mailbox m
       SET number = next.number, operation = next.operation, counter = next.counter, sealed = next.sealed,
           gate = coalesce(next.gate, m.gate), not_before = coalesce(next.not_before, m.not_before),
           closes_at = next.closes_at, handed_at = NULL, deliveries = 0
     WHERE m.bucket = of_bucket AND m.eid = of_eid;
    UPDATE packages p SET state = 'head'
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.number = next.number;
    RETURN next.number IS NOT NULL;
END
$body$;

GRANT UPDATE (held, attempts) ON operations TO eim_device; -- an end frees what comes after it; a refusal is a try
GRANT UPDATE (held, faults, parked) ON operations TO eim_operator;
GRANT UPDATE (held, closes_at, attempts, faults, parked) ON operations TO eim_worker;
GRANT SELECT (closes_at) ON packages, mailbox TO eim_operator;
GRANT UPDATE (closes_at) ON mailbox TO eim_worker;
