-- 0095_expand_bulk_judging.sql: a bulk order for a carrier reads an index in place of what its cards hold.
-- Safe beside the previous release: it has one index with more in it under the same name, one more, and `place_bulk`
-- again, which locks and places the same.

-- Which card of a bucket has which profile of a carrier, without a look at its row.
DROP INDEX profiles_of_carrier;
CREATE INDEX profiles_of_carrier ON profiles (tenant, service_provider, bucket, eid) INCLUDE (iccid);
-- Those whose policy forbids to disable them: few. The condition is spelt as in `place_bulk`.
CREATE INDEX profiles_unyielding ON profiles (bucket, eid)
    WHERE CASE WHEN octet_length(ppr) > 1 THEN get_byte(ppr, 1) & 64 <> 0 END;

-- As before; cards that are alike are not sorted, and what an enabling is judged by is read from the two indexes.
-- (Migration 0075 says what the parameters mean.)
CREATE OR REPLACE FUNCTION place_bulk(
    of_buckets smallint[], after_eids bytea[], at_most integer, of_tenant smallint, of_tag text,
    of_order uuid, by_actor text, with_priority smallint, opens timestamptz, ends timestamptz, awaits text,
    with_opening text, with_retries smallint, is_held text, closes timestamptz,
    versions text[], with_zones text[], zone_opens timestamptz[], zone_closes timestamptz[],
    kinds text[], iccids bytea[], rollbacks boolean[], with_details jsonb[], seeds bytea[],
    judged text, provider text)
RETURNS TABLE (of_bucket smallint, looked_at integer, reached bytea, is_last boolean, placed integer, rest bytea[])
LANGUAGE plpgsql
AS $body$
DECLARE
    meant bytea[];
    alike boolean;
    fits boolean;
    with_identity smallint;
    in_zone integer;
    eids bytea[];
    odd bytea[];
    kept bytea[];
    theirs bytea[];
    all_buckets smallint[] := '{}';
    all_identities smallint[] := '{}';
    all_zones integer[] := '{}';
    all_eids bytea[] := '{}';
    all_theirs bytea[] := '{}';
    base bigint;
    its_kind text;
    its_iccid bytea;
    its_rollback boolean;
    its_steps jsonb;
    seed bytea;
    its_opens timestamptz;
BEGIN
    FOR place IN 1 .. cardinality(of_buckets) LOOP
        of_bucket := of_buckets[place];
        looked_at := 0;
        placed := 0;
        rest := '{}';
        IF of_tag IS NULL THEN
            SELECT array_agg(m.eid) INTO meant
              FROM (SELECT e.eid FROM euiccs e
                     WHERE e.bucket = of_bucket AND e.tenant = of_tenant AND e.eid > after_eids[place]
                     ORDER BY e.eid LIMIT at_most) AS m;
        ELSE
            SELECT array_agg(m.eid) INTO meant
              FROM (SELECT t.eid FROM euicc_tags t
                     WHERE t.tenant = of_tenant AND t.tag = of_tag AND t.bucket = of_bucket
                       AND t.eid > after_eids[place]
                     ORDER BY t.eid LIMIT at_most) AS m;
        END IF;
        is_last := coalesce(cardinality(meant), 0) < at_most;
        reached := coalesce(meant[cardinality(meant)], after_eids[place]);
        -- All of them are locked before anything is judged. As a rule they are alike: one group, and nothing to sort.
        alike := with_zones IS NULL;
        IF alike THEN
            SELECT array_agg(l.eid), min(l.identity), bool_and(l.fits) AND min(l.identity) = max(l.identity)
              INTO eids, with_identity, alike
              FROM (SELECT e.eid, e.identity,
                           (e.speaks IS NULL OR e.speaks = ANY (versions))
                           AND (e.inventory_at IS NOT NULL OR provider IS NULL AND judged IS DISTINCT FROM 'disable')
                           AS fits
                      FROM euiccs e WHERE e.bucket = of_bucket AND e.eid = ANY (meant) AND e.tenant = of_tenant
                     ORDER BY e.eid FOR NO KEY UPDATE OF e) AS l;
        END IF;
        FOR fits, with_identity, in_zone, eids IN
            SELECT true, with_identity, NULL::integer, eids WHERE alike
             UNION ALL
            SELECT g.fits, g.identity, g.zone, g.eids
              FROM (SELECT l.fits, l.identity, l.zone, array_agg(l.eid) AS eids
                      FROM (SELECT e.eid, e.identity, array_position(with_zones, e.time_zone) AS zone,
                                   (e.speaks IS NULL OR e.speaks = ANY (versions))
                                   AND (e.inventory_at IS NOT NULL
                                        OR provider IS NULL AND judged IS DISTINCT FROM 'disable')
                                   AND (with_zones IS NULL OR array_position(with_zones, e.time_zone) IS NOT NULL)
                                   AS fits
                              FROM euiccs e WHERE e.bucket = of_bucket AND e.eid = ANY (meant) AND e.tenant = of_tenant
                             ORDER BY e.eid FOR NO KEY UPDATE OF e) AS l
                     GROUP BY l.fits, l.identity, l.zone) AS g
             WHERE NOT alike
        LOOP
            looked_at := looked_at + cardinality(eids);
            IF NOT fits OR cardinality(kinds) = 0 THEN
                rest := rest || eids;
                CONTINUE;
            END IF;
            IF judged = 'enable' THEN
                -- The few profiles that may not be disabled, and those that are meant: two indexes, and none of the rest.
                SELECT array_agg(r.eid) INTO odd FROM profiles r
                 WHERE r.bucket = of_bucket AND r.eid = ANY (eids) AND r.state = 'enabled'
                   AND CASE WHEN octet_length(r.ppr) > 1 THEN get_byte(r.ppr, 1) & 64 <> 0 END;
                IF provider IS NOT NULL THEN
                    SELECT array_agg(r.eid), array_agg(r.iccid) INTO kept, theirs FROM profiles r
                     WHERE r.tenant = of_tenant AND r.service_provider = provider
                       AND r.bucket = of_bucket AND r.eid = ANY (eids);
                END IF;
            ELSIF judged IS NOT NULL OR provider IS NOT NULL THEN
                -- The profiles that stand against the step, and those that may be meant.
                SELECT array_agg(r.eid) FILTER (WHERE CASE
                           WHEN judged IS NOT NULL AND (r.iccid = iccids[1] OR r.service_provider = provider)
                           THEN r.state = 'enabled'
                                OR judged <> 'disable'
                                   AND (r.fallback OR r.fallback_allowed IS FALSE
                                        OR octet_length(r.ppr) > 1 AND get_byte(r.ppr, 1) & 32 <> 0) END),
                       array_agg(r.eid) FILTER (WHERE r.service_provider = provider),
                       array_agg(r.iccid) FILTER (WHERE r.service_provider = provider)
                  INTO odd, kept, theirs
                  FROM profiles r WHERE r.bucket = of_bucket AND r.eid = ANY (eids);
            END IF;
            IF judged IS NOT NULL THEN
                -- What changes a card and waits.
                SELECT odd || array_agg(b.eid) INTO odd
                  FROM (SELECT o.eid FROM operations o
                         WHERE o.bucket = of_bucket AND o.eid = ANY (eids) AND o.state = 'accepted'
                           AND o.kind NOT IN ('listProfileInfo', 'getRAT', 'listEim', 'ipaEuiccDataRequest')
                        UNION ALL
                        SELECT o.eid FROM operations o
                         WHERE o.bucket = of_bucket AND o.eid = ANY (eids) AND o.state IN ('sealed', 'out', 'in_doubt')
                           AND o.kind NOT IN ('listProfileInfo', 'getRAT', 'listEim', 'ipaEuiccDataRequest')) AS b;
                IF odd IS NOT NULL THEN
                    SELECT rest || array_agg(DISTINCT k.eid) INTO rest FROM unnest(odd) AS k (eid);
                    SELECT coalesce(array_agg(k.eid ORDER BY k.eid), '{}') INTO eids
                      FROM (SELECT unnest(eids) AS eid EXCEPT SELECT unnest(odd)) AS k;
                END IF;
            END IF;
            IF provider IS NOT NULL AND kept IS DISTINCT FROM eids THEN
                -- Not each of them has exactly one profile of theirs, as it seems.
                SELECT coalesce(array_agg(f.eid), '{}'), array_agg(f.iccid) INTO kept, theirs
                  FROM (SELECT r.eid, (array_agg(r.iccid))[1] AS iccid FROM profiles r
                         WHERE r.bucket = of_bucket AND r.eid = ANY (eids) AND r.service_provider = provider
                         GROUP BY r.eid HAVING count(*) = 1) AS f;
                IF cardinality(kept) < cardinality(eids) THEN
                    SELECT rest || array_agg(k.eid) INTO rest
                      FROM (SELECT unnest(eids) AS eid EXCEPT SELECT unnest(kept)) AS k;
                END IF;
                eids := kept;
            END IF;
            placed := placed + cardinality(eids) * cardinality(kinds);
            all_buckets := all_buckets || array_fill(of_bucket, ARRAY[cardinality(eids)]);
            all_identities := all_identities || array_fill(with_identity, ARRAY[cardinality(eids)]);
            all_zones := all_zones || array_fill(in_zone, ARRAY[cardinality(eids)]);
            all_eids := all_eids || eids;
            all_theirs := all_theirs || theirs;
        END LOOP;
        RETURN NEXT;
    END LOOP;
    IF cardinality(all_eids) = 0 THEN
        RETURN;
    END IF;
    SELECT nextval('operation_ordinals') << 20 INTO base;
    its_opens := coalesce(opens, now());
    FOR part IN 1 .. cardinality(kinds) LOOP
        its_kind := kinds[part];
        its_iccid := iccids[part];
        its_rollback := rollbacks[part];
        its_steps := with_details[part];
        seed := seeds[part];
        -- The id is domain.ids.derive_operation_id, of position 0 and the part.
        INSERT INTO operations (bucket, id, eid, tenant, identity, order_id, ordinal, kind, iccid, rollback, details,
                                priority, not_before, expires_at, ordered_by, after_event, opening, retries, held,
                                closes_at)
        SELECT d.bucket,
               encode(int2send(d.bucket)
                      || set_byte(set_byte(d.digest, 4, get_byte(d.digest, 4) & 15 | 128),
                                  6, get_byte(d.digest, 6) & 63 | 128), 'hex')::uuid,
               d.eid, of_tenant, d.identity, of_order, base + part, its_kind, coalesce(d.iccid, its_iccid),
               its_rollback, its_steps, with_priority, coalesce(zone_opens[d.zone], its_opens), ends, by_actor, awaits,
               with_opening, with_retries, is_held, coalesce(zone_closes[d.zone], closes)
          FROM (SELECT u.bucket, u.identity, u.zone, u.eid, u.iccid, substr(sha256(seed || u.eid), 1, 14) AS digest
                  FROM (SELECT unnest(all_buckets) AS bucket, unnest(all_identities) AS identity,
                               unnest(all_zones) AS zone, unnest(all_eids) AS eid, unnest(all_theirs) AS iccid) AS u
                OFFSET 0) AS d; -- one digest a row
    END LOOP;
END
$body$;
