-- 0066_expand_heads_by_key.sql: the packages that are answered are found by their keys.
-- Safe beside the previous release: the function does the same as before. Said plainly, the state let the planner read
-- an index of all that is in front of any eUICC for each batch of results: in a campaign, several times all the rest.

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
                              WHERE p.bucket = u.bucket AND p.eid = u.eid AND p.state = 'waiting'
                              ORDER BY p.number LIMIT 1) AS n ON true
         WHERE m.bucket = u.bucket AND m.eid = u.eid AND m.number = u.number
     RETURNING m.bucket, m.eid, m.number
    ), raised AS (
        UPDATE packages p SET state = 'head'
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
