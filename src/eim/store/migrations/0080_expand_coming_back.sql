-- 0080_expand_coming_back.sql: the key that a card which left in the middle of a move may obey, and cards that come back to
-- another tenant of the same identity. Safe beside the previous release: new columns that it neither reads nor writes.
ALTER TABLE departed ADD COLUMN next_key smallint; -- the key of an updateEim that was with the card; NULL: there was none
ALTER TABLE departed ADD COLUMN next_counter integer; -- .. and where it begins to count then; NULL: it goes on
GRANT UPDATE (next_key, next_counter) ON departed TO eim_operator;

-- What is known of cards that come back: of the tenant's own, and of those that another tenant of the same identity let
-- go, for whoever names the association token. A card draws another one for another association, so it is the same one.
CREATE FUNCTION coming_back(
    of_buckets smallint[], of_eids bytea[], of_identities smallint[], of_tokens bigint[], to_tenant smallint
) RETURNS TABLE (eid bytea, counter integer, key_number smallint, next_key smallint, next_counter integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
    SELECT DISTINCT ON (u.eid) u.eid, d.counter, d.key_number, d.next_key, d.next_counter
      FROM unnest(of_buckets, of_eids, of_identities, of_tokens) AS u (bucket, eid, identity, token)
      JOIN identities i ON i.id = u.identity AND i.tenant = to_tenant
      JOIN departed d ON d.bucket = u.bucket AND d.eid = u.eid AND d.eim_id = i.eim_id
     WHERE u.token = d.association_token OR d.tenant = to_tenant AND u.token IS NULL
     ORDER BY u.eid, d.departed_at DESC
$body$;
REVOKE ALL ON FUNCTION coming_back(smallint[], bytea[], smallint[], bigint[], smallint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION coming_back(smallint[], bytea[], smallint[], bigint[], smallint) TO eim_operator;
