-- 0036_expand_results.sql: many results are settled in one transaction.
-- Safe beside the previous release: it adds a function, and what that release asks of profiles by carrier finds the new
-- index as it found the former one. On a large installation create the index CONCURRENTLY by hand before
-- (docs/upgrading.md); IF NOT EXISTS then skips it.

-- The heads that are answered end, and what waits behind each moves up: `move_up` for many. Lock the eUICCs before. It
-- is all of them or none: somebody else has moved a head that is not the one meant, so the caller begins anew.
CREATE FUNCTION resolve_heads(of_buckets smallint[], of_eids bytea[], of_numbers bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    moved bigint;
    ended bigint;
BEGIN
    UPDATE mailbox m
       SET number = n.number, operation = n.operation, counter = n.counter, sealed = n.sealed,
           gate = coalesce(n.gate, m.gate), not_before = coalesce(n.not_before, m.not_before),
           closes_at = n.closes_at, handed_at = NULL, deliveries = 0
      FROM unnest(of_buckets, of_eids, of_numbers) AS u (bucket, eid, number)
      LEFT JOIN LATERAL (SELECT p.* FROM packages p
                          WHERE p.bucket = u.bucket AND p.eid = u.eid AND p.state = 'waiting'
                          ORDER BY p.number LIMIT 1) AS n ON true
     WHERE m.bucket = u.bucket AND m.eid = u.eid AND m.number = u.number;
    GET DIAGNOSTICS moved = ROW_COUNT;
    UPDATE packages p SET state = 'ended'
      FROM unnest(of_buckets, of_eids, of_numbers) AS u (bucket, eid, number)
     WHERE p.bucket = u.bucket AND p.eid = u.eid AND p.number = u.number AND p.state = 'head';
    GET DIAGNOSTICS ended = ROW_COUNT;
    IF moved <> cardinality(of_buckets) OR ended <> cardinality(of_buckets) THEN
        RAISE EXCEPTION 'a head is another one by now' USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE packages p SET state = 'head'
      FROM unnest(of_buckets, of_eids) AS u (bucket, eid)
      JOIN mailbox m ON m.bucket = u.bucket AND m.eid = u.eid
     WHERE p.bucket = m.bucket AND p.eid = m.eid AND p.number = m.number;
END
$body$;
REVOKE ALL ON FUNCTION resolve_heads(smallint[], bytea[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION resolve_heads(smallint[], bytea[], bigint[]) TO eim_device;
