-- 0051_expand_shared_keys.sql: a tenant that shares an identity has all its keys, those that follow the first one too.
-- Safe beside the previous release: it reads the new rows as keys like others, and adds none of its own to such tenants.
INSERT INTO identity_keys (identity, number, tenant, key_name, curve, public_key)
SELECT i.id, k.number, i.tenant, k.key_name, k.curve, k.public_key
  FROM identities f
  JOIN identity_keys k ON k.identity = f.id
  JOIN identities i ON i.eim_id = f.eim_id AND i.public_key = f.public_key AND i.tenant <> f.tenant
 WHERE f.tenant = 1
    ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION share_identity(with_tenant smallint, of_eim_id text) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    made smallint;
BEGIN
    IF coalesce(NULLIF(current_setting('eim.tenant', true), ''), '0')::smallint <> 1
       OR current_setting('eim.installation', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'only the installation shares identities' USING ERRCODE = 'insufficient_privilege';
    END IF;
    LOCK TABLE identities IN SHARE ROW EXCLUSIVE MODE; -- ids are counted by one at a time
    INSERT INTO identities (id, tenant, eim_id, eim_id_type, fqdn, curve, public_key, key_name, initial_counter,
                            key_number, lowest_key)
    SELECT (SELECT max(a.id) + 1 FROM identities a), with_tenant, i.eim_id, i.eim_id_type, i.fqdn, i.curve,
           i.public_key, i.key_name, i.initial_counter, i.key_number, i.lowest_key
      FROM identities i WHERE i.tenant = 1 AND i.eim_id = of_eim_id AND i.retired_at IS NULL
    RETURNING id INTO made;
    INSERT INTO identity_keys (identity, number, tenant, key_name, curve, public_key)
    SELECT made, k.number, with_tenant, k.key_name, k.curve, k.public_key
      FROM identities i JOIN identity_keys k ON k.identity = i.id
     WHERE i.tenant = 1 AND i.eim_id = of_eim_id AND made IS NOT NULL;
    RETURN made;
END
$body$;
