-- 0075_expand_bulk_placing.sql: a bulk order's next cards in one call, each look for all cards of a bucket at once.
-- Safe beside the previous release: it is an index and a function more. Both place what the other would, under the same
-- locks.

-- The cards of a tag, bucket by bucket, without a look at their rows.
CREATE INDEX euicc_tags_by_bucket ON euicc_tags (tenant, tag, bucket, eid);

-- Lock the next cards of these buckets, one bucket after the other, ask those that need no closer look for the `kinds`,
-- and name the others in `rest`; a row a bucket. Each statement sees what was committed before it began: what is judged
-- is read after the locks of its bucket are had. The ordinal is drawn under all of them. All rows are inserted at once:
-- many in one statement cost less than some in each of many.
--
-- after_eids  of each bucket the last card that was looked at
-- at_most     cards of a bucket
-- of_tag      NULL: every card of the tenant
-- kinds       one a package; none: all cards need a closer look
-- seeds       of each package, what comes in front of the EID in the digest that its id is made of
-- versions    those that have all of it
-- with_zones  the time zones that matter, each with its window; NULL: none does
-- judged      of one step about one profile that guards look at: its kind; NULL: nothing else is to be looked at
-- provider    whose profile is meant; NULL: the one that `iccids` names, or none
CREATE FUNCTION place_bulk(
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
        -- All of them are locked before the first group is worked on.
        FOR fits, with_identity, in_zone, eids IN
            SELECT l.fits, l.identity, l.zone, array_agg(l.eid)
              FROM (SELECT e.eid, e.identity, array_position(with_zones, e.time_zone) AS zone,
                           (e.speaks IS NULL OR e.speaks = ANY (versions))
                           AND (e.inventory_at IS NOT NULL OR provider IS NULL AND judged IS DISTINCT FROM 'disable')
                           AND (with_zones IS NULL OR array_position(with_zones, e.time_zone) IS NOT NULL) AS fits
                      FROM euiccs e WHERE e.bucket = of_bucket AND e.eid = ANY (meant) AND e.tenant = of_tenant
                     ORDER BY e.eid FOR NO KEY UPDATE OF e) AS l
             GROUP BY l.fits, l.identity, l.zone
        LOOP
            looked_at := looked_at + cardinality(eids);
            IF NOT fits OR cardinality(kinds) = 0 THEN
                rest := rest || eids;
                CONTINUE;
            END IF;
            IF judged IS NOT NULL OR provider IS NOT NULL THEN
                -- The profiles that stand against the step, and those that may be meant.
                SELECT array_agg(r.eid) FILTER (WHERE CASE
                           WHEN judged = 'enable'
                           THEN r.state = 'enabled' AND octet_length(r.ppr) > 1 AND get_byte(r.ppr, 1) & 64 <> 0
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
REVOKE ALL ON FUNCTION place_bulk(smallint[], bytea[], integer, smallint, text, uuid, text, smallint, timestamptz,
    timestamptz, text, text, smallint, text, timestamptz, text[], text[], timestamptz[], timestamptz[], text[], bytea[],
    boolean[], jsonb[], bytea[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION place_bulk(smallint[], bytea[], integer, smallint, text, uuid, text, smallint, timestamptz,
    timestamptz, text, text, smallint, text, timestamptz, text[], text[], timestamptz[], timestamptz[], text[], bytea[],
    boolean[], jsonb[], bytea[], text, text) TO eim_worker;
