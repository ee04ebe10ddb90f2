-- 0091_expand_lock_cards.sql: the rows of many eUICCs are locked in one call, as an order for many needs it.
-- Safe beside the previous release, which locks them bucket by bucket and in the same order.

-- Lock these eUICCs, which come in the order of (bucket, EID), one after the other: two orders never wait for each
-- other. Who is not the tenant's is not among them. Planned once, for one card by its key: said plainly, the tenant would
-- let the planner read an index of all that it has, for a thousand buckets in turn.
CREATE FUNCTION lock_cards(of_buckets smallint[], of_eids bytea[], of_tenant smallint)
RETURNS TABLE (in_bucket smallint, its_eid bytea, its_identity smallint, its_inventory_at timestamptz,
    its_time_zone text, its_speaks text, its_eim_id text, its_eims jsonb)
LANGUAGE plpgsql SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off
AS $body$
BEGIN
    FOR place IN 1 .. cardinality(of_eids) LOOP
        RETURN QUERY
        SELECT e.bucket, e.eid, e.identity, e.inventory_at, e.time_zone, e.speaks, i.eim_id, e.eims
          FROM euiccs e JOIN identities i ON i.id = e.identity
         WHERE e.bucket = of_buckets[place] AND e.eid = of_eids[place] AND coalesce(e.tenant, 0) = of_tenant
           FOR UPDATE OF e;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION lock_cards(smallint[], bytea[], smallint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_cards(smallint[], bytea[], smallint) TO eim_operator, eim_worker;
