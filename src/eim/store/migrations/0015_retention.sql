-- 0015_retention.sql: what is old goes, in small chunks by indexes, and never what is open or still needed.
-- Safe beside the previous release: it adds, and rewrites no row. The indexes are built under a lock that lets reads
-- pass: on a large installation create them CONCURRENTLY by hand before (docs/upgrading.md); IF NOT EXISTS then skips them.

-- SHA-256 of the octets that were there; NULL: they are there.
ALTER TABLE packages ADD COLUMN digest bytea;

CREATE INDEX IF NOT EXISTS results_by_age ON results (bucket, received_at);
CREATE INDEX IF NOT EXISTS events_by_age ON events (bucket, at);
CREATE INDEX IF NOT EXISTS packages_with_octets ON packages (bucket, sealed_at)
    WHERE state IN ('ended', 'dead') AND digest IS NULL;
CREATE INDEX IF NOT EXISTS notifications_by_age ON notifications (bucket, received_at) WHERE state <> 'stored';
CREATE INDEX IF NOT EXISTS strays_by_age ON strays (received_at);

-- What each kind means by old; the worker counts by these and deletes through the functions below only.
CREATE FUNCTION old_results(of_bucket smallint, older interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $body$
    SELECT r.id FROM results r
     WHERE r.bucket = of_bucket AND r.received_at < now() - older
       AND r.verdict <> 'unverified' -- its certificate may still come
       AND r.kind NOT IN ('data', 'dataError') -- what a card last said of itself; there are few
       AND NOT EXISTS (SELECT 1 FROM operations o
                        WHERE o.bucket = of_bucket AND o.id = r.operation
                          AND o.state NOT IN ('done', 'failed', 'withdrawn', 'expired'))
     ORDER BY r.received_at
$body$;
CREATE FUNCTION old_packages(of_bucket smallint, older interval) RETURNS TABLE (eid bytea, number bigint)
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $body$
    SELECT p.eid, p.number FROM packages p
     WHERE p.bucket = of_bucket AND p.sealed_at < now() - older AND p.state IN ('ended', 'dead') AND p.digest IS NULL
       AND (p.state = 'dead' -- it was never handed out
            OR NOT EXISTS (SELECT 1 FROM operations o
                            WHERE o.bucket = of_bucket AND o.id = p.operation
                              AND (o.state NOT IN ('done', 'failed', 'withdrawn', 'expired')
                                   OR o.ended_at >= now() - older)))
     ORDER BY p.sealed_at
$body$;
CREATE FUNCTION old_events(of_bucket smallint, older interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $body$
    SELECT e.id FROM events e
     WHERE e.bucket = of_bucket AND e.at < now() - older
       -- every webhook that is on is done with it, and nobody may want it once more
       AND NOT EXISTS (SELECT 1 FROM webhooks w
                         LEFT JOIN webhook_places p
                           ON p.bucket = of_bucket AND p.webhook = w.id AND p.generation = w.generation
                        WHERE w.tenant = e.tenant AND w.enabled AND coalesce(p.turn, w.start) < e.turn)
       AND NOT EXISTS (SELECT 1 FROM webhook_waits q WHERE q.bucket = of_bucket AND q.turn <= e.turn)
       AND NOT EXISTS (SELECT 1 FROM webhook_dead_letters d WHERE d.bucket = of_bucket AND d.event = e.id)
     ORDER BY e.at
$body$;
CREATE FUNCTION old_notifications(of_bucket smallint, older interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $body$
    SELECT n.id FROM notifications n
     WHERE n.bucket = of_bucket AND n.received_at < now() - older AND n.state <> 'stored' -- nobody was told of it yet
     ORDER BY n.received_at
$body$;

-- The worker role has no right to delete evidence or to change octets. These do it, of what is older than a week.
CREATE FUNCTION purge_bucket(of_kind text, of_bucket smallint, older interval, at_most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    gone bigint;
BEGIN
    IF older IS NULL OR older < interval '7 days' THEN
        RAISE EXCEPTION 'nothing younger than 7 days is purged' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    CASE of_kind
        WHEN 'results' THEN
            DELETE FROM results r WHERE r.bucket = of_bucket
               AND r.id IN (SELECT o FROM old_results(of_bucket, older) AS o LIMIT at_most);
        WHEN 'events' THEN
            DELETE FROM events e WHERE e.bucket = of_bucket
               AND e.id IN (SELECT o FROM old_events(of_bucket, older) AS o LIMIT at_most);
        WHEN 'notifications' THEN
            DELETE FROM notifications n WHERE n.bucket = of_bucket
               AND n.id IN (SELECT o FROM old_notifications(of_bucket, older) AS o LIMIT at_most);
        WHEN 'packages' THEN
            -- The row stays for the card's lifetime: its counter is never used again, and a late result finds it.
            UPDATE packages p SET digest = sha256(p.sealed), sealed = ''
              FROM (SELECT o.eid, o.number FROM old_packages(of_bucket, older) AS o LIMIT at_most) AS old
             WHERE p.bucket = of_bucket AND p.eid = old.eid AND p.number = old.number;
        ELSE
            RAISE EXCEPTION 'there is no kind %', of_kind USING ERRCODE = 'invalid_parameter_value';
    END CASE;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$body$;
REVOKE ALL ON FUNCTION old_results(smallint, interval), old_packages(smallint, interval),
    old_events(smallint, interval), old_notifications(smallint, interval),
    purge_bucket(text, smallint, interval, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION old_results(smallint, interval), old_packages(smallint, interval),
    old_events(smallint, interval), old_notifications(smallint, interval),
    purge_bucket(text, smallint, interval, integer) TO eim_worker;
