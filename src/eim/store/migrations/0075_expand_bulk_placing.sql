-- 0075_expand_bulk_placing.sql: a bulk order's next cards of a bucket in one call, each look by ranges of keys.
-- Safe beside the previous release: it is a function more. Both place what the other would, under the same locks.

-- Lock the next cards of the bucket, ask those that need no closer look for the `kinds`, and name the others in `rest`.
-- Each statement sees what was committed before it began: what is judged is read after the locks are had. The ordinal is
-- drawn under them, too.
--
-- of_tag      NULL: every card of the tenant
-- after_eid   the last card that was looked at
-- kinds       one a package; none: all cards need a closer look
-- seeds       of each package, what comes in front of the EID in the digest that its id is made of
-- versions    those that have all of it
-- with_zones  the time zones that matter, each with its window; NULL: none does
-- judged      of one step about one profile that guards look at: its kind; NULL: nothing else is to be looked at
-- provider    whose profile is meant; NULL: the one that `iccids` names, or none
CREATE FUNCTION place_bulk(
    of_bucket smallint, after_eid bytea, at_most integer, of_tenant smallint, of_tag text,
    of_order uuid, by_actor text, with_priority smallint, opens timestamptz, ends timestamptz, awaits text,
    with_opening text, with_retries smallint, is_held text, closes timestamptz,
    versions text[], with_zones text[], zone_opens timestamptz[], zone_closes timestamptz[],
    kinds text[], iccids bytea[], rollbacks boolean[], with_details jsonb[], seeds bytea[],
    judged text, provider text,
    OUT looked_at integer, OUT reached bytea, OUT is_last boolean, OUT placed integer, OUT rest bytea[])
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
    base bigint;
    its_kind text;
    its_iccid bytea;
    its_rollback boolean;
    its_steps jsonb;
    seed bytea;
    from_time timestamptz;
    to_time timestamptz;
    inserted integer;
BEGIN
    looked_at := 0;
    placed := 0;
    rest := '{}';
    IF of_tag IS NULL THEN
        SELECT array_agg(m.eid) INTO meant
          FROM (SELECT e.eid FROM euiccs e
                 WHERE e.bucket = of_bucket AND e.tenant = of_tenant AND e.eid > after_eid
                 ORDER BY e.eid LIMIT at_most) AS m;
    ELSE
        SELECT array_agg(m.eid) INTO meant
          FROM (SELECT t.eid FROM euicc_tags t
                 WHERE t.bucket = of_bucket AND t.tenant = of_tenant AND t.tag = of_tag AND t.eid > after_eid
                 ORDER BY t.eid LIMIT at_most) AS m;
    END IF;
    is_last := coalesce(cardinality(meant), 0) < at_most;
    reached := coalesce(meant[cardinality(meant)], after_eid);
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
        IF judged IS NOT NULL THEN
            -- What changes a card and waits, and the profiles that stand against the step.
            SELECT array_agg(b.eid) INTO odd
              FROM (SELECT o.eid FROM operations o
                     WHERE o.bucket = of_bucket AND o.eid = ANY (eids) AND o.state = 'accepted'
                       AND o.kind NOT IN ('listProfileInfo', 'getRAT', 'listEim', 'ipaEuiccDataRequest')
                    UNION ALL
                    SELECT o.eid FROM operations o
                     WHERE o.bucket = of_bucket AND o.eid = ANY (eids) AND o.state IN ('sealed', 'out', 'in_doubt')
                       AND o.kind NOT IN ('listProfileInfo', 'getRAT', 'listEim', 'ipaEuiccDataRequest')
                    UNION ALL
                    SELECT r.eid FROM profiles r
                     WHERE r.bucket = of_bucket AND r.eid = ANY (eids)
                       AND CASE WHEN judged = 'enable'
                                THEN r.state = 'enabled' AND octet_length(r.ppr) > 1 AND get_byte(r.ppr, 1) & 64 <> 0
                                WHEN r.iccid = iccids[1] OR r.service_provider = provider
                                THEN r.state = 'enabled'
                                     OR judged <> 'disable'
                                        AND (r.fallback OR r.fallback_allowed IS FALSE
                                             OR octet_length(r.ppr) > 1 AND get_byte(r.ppr, 1) & 32 <> 0)
                                ELSE false END) AS b;
            IF odd IS NOT NULL THEN
                SELECT rest || array_agg(DISTINCT k.eid) INTO rest FROM unnest(odd) AS k (eid);
                SELECT coalesce(array_agg(k.eid ORDER BY k.eid), '{}') INTO eids
                  FROM (SELECT unnest(eids) AS eid EXCEPT SELECT unnest(odd)) AS k;
            END IF;
        END IF;
        IF provider IS NOT NULL THEN
            -- Only where a card has exactly one profile of theirs.
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
        IF base IS NULL THEN
            SELECT nextval('operation_ordinals') << 20 INTO base;
        END IF;
        from_time := coalesce(zone_opens[in_zone], opens, now());
        to_time := coalesce(zone_closes[in_zone], closes);
        FOR part IN 1 .. cardinality(kinds) LOOP
            its_kind := kinds[part];
            its_iccid := iccids[part];
            its_rollback := rollbacks[part];
            its_steps := with_details[part];
            seed := seeds[part];
            -- The id is domain.ids.derive_operation_id, of position 0 and the part.
            INSERT INTO operations (bucket, id, eid, tenant, identity, order_id, ordinal, kind, iccid, rollback,
                                    details, priority, not_before, expires_at, ordered_by, after_event, opening,
                                    retries, held, closes_at)
            SELECT of_bucket,
                   encode(int2send(of_bucket)
                          || set_byte(set_byte(d.digest, 4, get_byte(d.digest, 4) & 15 | 128),
                                      6, get_byte(d.digest, 6) & 63 | 128), 'hex')::uuid,
                   d.eid, of_tenant, with_identity, of_order, base + part, its_kind,
                   coalesce(d.iccid, its_iccid), its_rollback, its_steps, with_priority, from_time, ends, by_actor,
                   awaits, with_opening, with_retries, is_held, to_time
              FROM (SELECT u.eid, u.iccid, substr(sha256(seed || u.eid), 1, 14) AS digest
                      FROM unnest(eids, theirs) AS u (eid, iccid)
                    OFFSET 0) AS d; -- one digest a row
            GET DIAGNOSTICS inserted = ROW_COUNT;
            placed := placed + inserted;
        END LOOP;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION place_bulk(smallint, bytea, integer, smallint, text, uuid, text, smallint, timestamptz,
    timestamptz, text, text, smallint, text, timestamptz, text[], text[], timestamptz[], timestamptz[], text[], bytea[],
    boolean[], jsonb[], bytea[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION place_bulk(smallint, bytea, integer, smallint, text, uuid, text, smallint, timestamptz,
    timestamptz, text, text, smallint, text, timestamptz, text[], text[], timestamptz[], timestamptz[], text[], bytea[],
    boolean[], jsonb[], bytea[], text, text) TO eim_worker;
