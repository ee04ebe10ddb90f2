-- 0084_expand_hot_heads.sql: no index says in which state a package is, so the end of a head costs no entry in one.
-- Safe beside the previous release, whose questions for what is in front of a card are answered by the card's own
-- packages: slower the more there ever were. The index is built under a lock that lets reads pass, and has few entries.

CREATE INDEX IF NOT EXISTS packages_queued ON packages (bucket, eid, number) INCLUDE (gate, closes_at) WHERE queued;
DROP INDEX packages_in_front;
DROP INDEX packages_with_octets;
-- Pages that are filled from now on keep room for a row that changes.
ALTER TABLE packages SET (fillfactor = 85);

-- As before, each: what waits is found among what may wait, the head by its number.
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
        RAISE EXCEPTION 'package % is still the head: end it first', former
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT p.* INTO next FROM packages p
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.queued AND p.state = 'waiting'
     ORDER BY p.number LIMIT 1;
    UPDATE mailbox m
       SET number = next.number, operation = next.operation, counter = next.counter, sealed = next.sealed,
           gate = coalesce(next.gate, m.gate), not_before = coalesce(next.not_before, m.not_before),
           closes_at = next.closes_at, handed_at = NULL, deliveries = 0
     WHERE m.bucket = of_bucket AND m.eid = of_eid;
    UPDATE packages p SET state = 'head', queued = false
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.number = next.number;
    RETURN next.number IS NOT NULL;
END
$body$;

CREATE OR REPLACE FUNCTION resolve_heads(of_buckets smallint[], of_eids bytea[], of_numbers bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    answered bigint;
    ended bigint;
BEGIN
    WITH moved AS (
        UPDATE mailbox m
           SET number = n.number, operation = n.operation, counter = n.counter, sealed = n.sealed,
               gate = coalesce(n.gate, m.gate), not_before = coalesce(n.not_before, m.not_before),
               closes_at = n.closes_at, handed_at = NULL, deliveries = 0
          FROM unnest(of_buckets, of_eids, of_numbers) AS u (bucket, eid, number)
          LEFT JOIN LATERAL (SELECT p.* FROM packages p
                              WHERE p.bucket = u.bucket AND p.eid = u.eid AND p.queued AND p.state = 'waiting'
                              ORDER BY p.number LIMIT 1) AS n ON true
         WHERE m.bucket = u.bucket AND m.eid = u.eid AND m.number = u.number
     RETURNING m.bucket, m.eid, m.number
    ), raised AS (
        UPDATE packages p SET state = 'head', queued = false
          FROM moved v
         WHERE v.number IS NOT NULL AND p.bucket = v.bucket AND p.eid = v.eid AND p.number = v.number
    )
    SELECT count(*) INTO answered FROM moved;
    UPDATE packages p SET state = 'ended'
      FROM unnest(of_buckets, of_eids, of_numbers) AS u (bucket, eid, number)
     WHERE p.bucket = u.bucket AND p.eid = u.eid AND p.number = u.number
       AND coalesce(p.state, '') = 'head';
    GET DIAGNOSTICS ended = ROW_COUNT;
    IF answered <> cardinality(of_buckets) OR ended <> cardinality(of_buckets) THEN
        RAISE EXCEPTION 'a head is another one by now' USING ERRCODE = 'serialization_failure';
    END IF;
END
$body$;

CREATE OR REPLACE FUNCTION take_back(of_bucket smallint, of_eid bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    out_since timestamptz;
    head bigint;
BEGIN
    -- The head is held first: nothing is handed out between looking and taking back.
    SELECT m.handed_at, m.number INTO out_since, head FROM mailbox m
     WHERE m.bucket = of_bucket AND m.eid = of_eid
       AND m.tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE packages p SET state = 'dead', queued = false
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.queued AND p.state = 'waiting';
    UPDATE packages p SET state = 'dead'
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.number = head AND p.state = 'head' AND out_since IS NULL;
    UPDATE operations o SET state = 'accepted'
     WHERE o.bucket = of_bucket AND o.eid = of_eid AND o.state = 'sealed';
    UPDATE mailbox m SET number = NULL, operation = NULL, counter = NULL, sealed = NULL, deliveries = 0
     WHERE m.bucket = of_bucket AND m.eid = of_eid AND out_since IS NULL;
END
$body$;

CREATE OR REPLACE FUNCTION take_back_seals(of_bucket smallint, of_eid bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    out_since timestamptz;
    head bigint;
    out_with uuid;
BEGIN
    SELECT m.handed_at, m.operation, m.number INTO out_since, out_with, head FROM mailbox m
     WHERE m.bucket = of_bucket AND m.eid = of_eid FOR UPDATE;
    UPDATE packages p SET state = 'dead', queued = false
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.queued AND p.state = 'waiting';
    UPDATE packages p SET state = 'dead'
     WHERE p.bucket = of_bucket AND p.eid = of_eid AND p.number = head AND p.state = 'head' AND out_since IS NULL;
    UPDATE operations o SET state = 'accepted'
     WHERE o.bucket = of_bucket AND o.eid = of_eid AND o.state = 'sealed'
       AND (out_since IS NULL OR o.id IS DISTINCT FROM out_with);
    UPDATE mailbox m SET number = NULL, operation = NULL, counter = NULL, sealed = NULL, deliveries = 0
     WHERE m.bucket = of_bucket AND m.eid = of_eid AND out_since IS NULL;
END
$body$;
