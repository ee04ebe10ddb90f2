-- 0005_take_back.sql: a withdrawal takes back seals that were never handed out, without reading or writing octets.
-- The rights are the owner's, so the tenant is looked at here: the one that the operator's transaction names.
CREATE FUNCTION take_back(of_bucket smallint, of_eid bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
DECLARE
    out_since timestamptz;
BEGIN
    -- The head is held first: nothing is handed out between looking and taking back.
    SELECT m.handed_at INTO out_since FROM mailbox m
     WHERE m.bucket = of_bucket AND m.eid = of_eid
       AND m.tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE packages p SET state = 'dead'
     WHERE p.bucket = of_bucket AND p.eid = of_eid
       AND (p.state = 'waiting' OR p.state = 'head' AND out_since IS NULL);
    UPDATE operations o SET state = 'accepted'
     WHERE o.bucket = of_bucket AND o.eid = of_eid AND o.state = 'sealed';
    UPDATE mailbox m SET number = NULL, operation = NULL, counter = NULL, sealed = NULL, deliveries = 0
     WHERE m.bucket = of_bucket AND m.eid = of_eid AND out_since IS NULL;
END
$body$;
REVOKE ALL ON FUNCTION take_back(smallint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_back(smallint, bytea) TO eim_operator;
