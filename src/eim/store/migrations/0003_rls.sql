-- 0003_rls.sql: a second line behind the application's own filter (design 3.9).
-- The operator role sees the tenant that its transaction names by SET LOCAL eim.tenant; no name, no rows.
-- Device and worker serve all tenants. The owner is not bound: it runs migrations only.

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE requests_seen ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE euiccs ENABLE ROW LEVEL SECURITY;
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE operations ENABLE ROW LEVEL SECURITY;
ALTER TABLE packages ENABLE ROW LEVEL SECURITY;
ALTER TABLE mailbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE results ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications ENABLE ROW LEVEL SECURITY;
ALTER TABLE requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;

CREATE POLICY all_tenants ON tenants TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON identities TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON tokens TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON requests_seen TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON orders TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON euiccs TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON profiles TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON operations TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON packages TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON mailbox TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON results TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON notifications TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON requests TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON events TO eim_device, eim_worker USING (true);
CREATE POLICY all_tenants ON audit TO eim_device, eim_worker USING (true);

-- NULLIF: a setting that was once set and rolled back reads as the empty string.
CREATE POLICY own_tenant ON tenants TO eim_operator
    USING (id = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON identities TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON tokens TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON requests_seen TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON orders TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON euiccs TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON profiles TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON operations TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON mailbox TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON results TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON notifications TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON events TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON audit TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);

-- These have no tenant of their own: their eUICC's decides, as far as the operator sees it.
CREATE POLICY own_tenant ON packages TO eim_operator
    USING (EXISTS (SELECT 1 FROM euiccs e WHERE e.bucket = packages.bucket AND e.eid = packages.eid));
CREATE POLICY own_tenant ON requests TO eim_operator
    USING (EXISTS (SELECT 1 FROM euiccs e WHERE e.bucket = requests.bucket AND e.eid = requests.eid));
