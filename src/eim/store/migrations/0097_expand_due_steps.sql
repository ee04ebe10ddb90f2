-- 0097_expand_due_steps.sql: the look for due work takes one step for each bucket where there is one identity, and
-- reads once which gates are closed. Safe beside the previous release: the function finds what it found before.

CREATE OR REPLACE FUNCTION due_work(
    of_buckets smallint[], is_slow boolean, muted smallint[], since timestamptz, resting bytea[], ahead integer,
    at_most integer)
RETURNS TABLE (of_bucket smallint, of_eid bytea, of_tenant smallint, of_identity smallint, packages bigint,
    due_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $body$
DECLARE
    in_buckets smallint[];
    of_identities smallint[];
    of_tenants smallint[];
    mosts integer[]; -- of each pair so many
    pasts integer[]; -- behind so many
    hits integer[];
    seen integer := 0;
    row record;
    closed integer[] := ARRAY(SELECT g.id FROM gates g WHERE NOT g.open);
    highest smallint := (SELECT max(w.id) FROM identities w WHERE (w.curve = 'brainpoolP256r1') = is_slow);
BEGIN
    -- Which identities have accepted work, from one to the next.
    WITH RECURSIVE steps AS (
        SELECT u.bucket, (SELECT o.identity FROM operations o
                           WHERE o.bucket = u.bucket AND o.state = 'accepted' AND o.held IS NULL
                           ORDER BY o.identity LIMIT 1) AS identity
          FROM unnest(of_buckets) AS u (bucket)
         UNION ALL
        SELECT p.bucket, (SELECT o.identity FROM operations o
                           WHERE o.bucket = p.bucket AND o.state = 'accepted' AND o.held IS NULL
                             AND o.identity > p.identity ORDER BY o.identity LIMIT 1)
          FROM steps p WHERE p.identity < highest
    ), pairs AS (
        SELECT p.bucket, p.identity, i.tenant
          FROM steps p
         CROSS JOIN LATERAL (SELECT w.tenant FROM identities w
                              WHERE w.id = p.identity AND (w.curve = 'brainpoolP256r1') = is_slow
                                AND NOT w.id = ANY (muted) LIMIT 1) AS i
    ), sizes AS (
        SELECT p.tenant, count(*) AS pairs, count(*) OVER () AS turns FROM pairs p GROUP BY p.tenant
    )
    SELECT array_agg(p.bucket), array_agg(p.identity), array_agg(p.tenant),
           array_agg(ceil(at_most * least(1.0, 2.0 / t.turns) / t.pairs)::integer), array_agg(0)
      INTO in_buckets, of_identities, of_tenants, mosts, pasts
      FROM pairs p JOIN sizes t ON t.tenant = p.tenant;
    WHILE in_buckets IS NOT NULL AND seen < at_most LOOP
        hits := array_fill(0, ARRAY[cardinality(in_buckets)]);
        FOR row IN
            SELECT u.place, u.bucket, c.eid, u.tenant, u.identity, c.packages, c.not_before
              FROM unnest(in_buckets, of_identities, of_tenants, mosts, pasts)
                   WITH ORDINALITY AS u (bucket, identity, tenant, most, past, place)
             CROSS JOIN LATERAL (
                SELECT o.eid, o.not_before, e.packages
                  -- OFFSET keeps it to the oldest first, and all around to as many as are wanted
                  FROM (SELECT s.bucket, s.eid, s.kind, s.gate, s.not_before, s.closes_at, s.priority, s.ordinal
                          FROM operations s
                         WHERE s.bucket = u.bucket AND s.identity = u.identity AND s.state = 'accepted'
                           AND s.held IS NULL AND s.not_before > since AND s.not_before <= now()
                         ORDER BY s.not_before OFFSET 0) AS o
                  JOIN euiccs e ON e.bucket = o.bucket AND e.eid = o.eid
                 WHERE NOT o.gate = ANY (closed) AND NOT o.eid = ANY (resting)
                   AND (o.closes_at IS NULL OR o.closes_at > now())
                   AND e.handed_over_at IS NULL AND e.orphaned_at IS NULL
                   AND (o.kind = 'ipaEuiccDataRequest'
                        OR e.introduced_at IS NOT NULL AND (e.stalled IS NULL OR o.kind = 'renewAssociation'))
                   -- nothing overtakes what is tried again later, but what has a higher priority
                   AND (SELECT true FROM operations b
                         WHERE b.bucket = o.bucket AND b.eid = o.eid AND b.state = 'accepted' AND b.attempts > 0
                           AND b.not_before > now() AND (b.priority, b.ordinal) < (o.priority, o.ordinal)
                         ORDER BY b.priority, b.ordinal LIMIT 1) IS NULL
                   -- what is in front: the head, and what waits behind it
                   AND (SELECT NOT m.barred
                               AND CASE WHEN m.sealed IS NOT NULL AND NOT m.gate = ANY (closed)
                                             AND (m.closes_at IS NULL OR m.closes_at > now()) THEN 1 ELSE 0 END
                                 + (SELECT count(*) FROM packages k
                                     WHERE k.bucket = m.bucket AND k.eid = m.eid AND k.queued AND k.state = 'waiting'
                                       AND NOT k.gate = ANY (closed)
                                       AND (k.closes_at IS NULL OR k.closes_at > now())) < ahead
                          FROM mailbox m
                         WHERE m.bucket = o.bucket AND m.eid = o.eid)
                 ORDER BY o.not_before LIMIT u.most OFFSET u.past
             ) AS c
        LOOP
            of_bucket := row.bucket;
            of_eid := row.eid;
            of_tenant := row.tenant;
            of_identity := row.identity;
            packages := row.packages;
            due_at := row.not_before;
            hits[row.place] := hits[row.place] + 1;
            seen := seen + 1;
            RETURN NEXT;
        END LOOP;
        SELECT array_agg(u.bucket), array_agg(u.identity), array_agg(u.tenant), array_agg(4 * u.most),
               array_agg(u.past + u.most)
          INTO in_buckets, of_identities, of_tenants, mosts, pasts
          FROM unnest(in_buckets, of_identities, of_tenants, mosts, pasts, hits)
               AS u (bucket, identity, tenant, most, past, hit)
         WHERE u.hit = u.most;
    END LOOP;
END
$body$;
