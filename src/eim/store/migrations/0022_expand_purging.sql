-- 0022_expand_purging.sql: operations that ended long ago go, too, when nothing needs them any more; then their orders.
-- Safe beside the previous release: it adds an index and functions. On a large installation create the index
-- CONCURRENTLY by hand before (docs/upgrading.md); IF NOT EXISTS then skips it.

CREATE INDEX IF NOT EXISTS operations_by_age ON operations (bucket, ended_at)
    WHERE state IN ('done', 'failed', 'withdrawn', 'expired');
CREATE INDEX IF NOT EXISTS orders_by_age ON orders (created_at);
CREATE INDEX IF NOT EXISTS requests_seen_by_age ON requests_seen (created_at);
CREATE INDEX IF NOT EXISTS imports_by_age ON imports (changed_at);

CREATE FUNCTION old_operations(of_bucket smallint, older interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $body$
    SELECT o.id FROM operations o
     WHERE o.bucket = of_bucket AND o.ended_at < now() - older
       AND o.state IN ('done', 'failed', 'withdrawn', 'expired')
       -- its octets and what the card answered go first
       AND NOT EXISTS (SELECT 1 FROM packages p
                        WHERE p.bucket = of_bucket AND p.eid = o.eid AND p.operation = o.id
                          AND (p.state IN ('waiting', 'head') OR p.digest IS NULL))
       AND NOT EXISTS (SELECT 1 FROM results r
                        WHERE r.bucket = of_bucket AND r.eid = o.eid AND r.operation = o.id)
       -- nothing that is open comes after it, and nothing of its card is in doubt
       AND NOT EXISTS (SELECT 1 FROM operations n
                        WHERE n.bucket = of_bucket AND n.after = o.id
                          AND n.state NOT IN ('done', 'failed', 'withdrawn', 'expired'))
       AND NOT EXISTS (SELECT 1 FROM operations d
                        WHERE d.bucket = of_bucket AND d.eid = o.eid AND d.state = 'in_doubt')
     ORDER BY o.ended_at
$body$;

-- The worker role has no right to delete operations or orders. These do it, of what is older than a week.
CREATE FUNCTION purge_operations(of_bucket smallint, older interval, at_most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    gone bigint;
BEGIN
    IF older IS NULL OR older < interval '7 days' THEN
        RAISE EXCEPTION 'nothing younger than 7 days is purged' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM operations o WHERE o.bucket = of_bucket
       AND o.id IN (SELECT p FROM old_operations(of_bucket, older) AS p LIMIT at_most);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$body$;
CREATE FUNCTION old_orders(older interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $body$
    SELECT o.id FROM orders o
     WHERE o.created_at < now() - older AND NOT EXISTS (SELECT 1 FROM operations p WHERE p.order_id = o.id)
     ORDER BY o.created_at
$body$;
CREATE FUNCTION purge_orders(older interval, at_most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    gone bigint;
BEGIN
    IF older IS NULL OR older < interval '7 days' THEN
        RAISE EXCEPTION 'nothing younger than 7 days is purged' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM orders o WHERE o.id IN (SELECT p FROM old_orders(older) AS p LIMIT at_most);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$body$;
REVOKE ALL ON FUNCTION old_operations(smallint, interval), purge_operations(smallint, interval, integer),
    old_orders(interval), purge_orders(interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION old_operations(smallint, interval), purge_operations(smallint, interval, integer),
    old_orders(interval), purge_orders(interval, integer) TO eim_worker;
