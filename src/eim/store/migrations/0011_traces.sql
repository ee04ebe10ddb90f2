-- 0011_traces.sql: what one device says and is told, octet by octet, while an operator has that switched on.
-- Safe beside the previous release: the new columns are nullable or have a constant default, which rewrites no row.

-- In the eUICC's own row, which every poll and result reads anyway: who isn't traced pays nothing.
ALTER TABLE euiccs ADD COLUMN traced_until timestamptz; -- NULL: never switched on, or switched off
ALTER TABLE euiccs ADD COLUMN trace_left integer NOT NULL DEFAULT 0; -- messages that may still be kept
CREATE INDEX euiccs_traced ON euiccs (tenant, traced_until) WHERE traced_until IS NOT NULL;

CREATE TABLE traces (
    bucket smallint NOT NULL,
    id uuid NOT NULL,
    eid bytea NOT NULL,
    tenant smallint NOT NULL,
    at timestamptz NOT NULL,
    direction text NOT NULL, -- in: from the IPA; out: our answer
    octets bytea NOT NULL, -- as it travelled, secrets replaced by stars, cut at a limit
    size integer NOT NULL, -- octets that travelled
    peer text NOT NULL, -- the network the message came from, not the address
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, id),
    FOREIGN KEY (bucket, eid) REFERENCES euiccs (bucket, eid) ON DELETE CASCADE
);
CREATE INDEX traces_of_eid ON traces (bucket, eid, at, id);
CREATE INDEX traces_expiring ON traces (bucket, expires_at);

ALTER TABLE traces ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON traces TO eim_device, eim_worker USING (true);
CREATE POLICY own_tenant ON traces TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);

GRANT INSERT ON traces TO eim_device;
GRANT UPDATE (trace_left) ON euiccs TO eim_device;
GRANT SELECT, DELETE ON traces TO eim_operator;
GRANT UPDATE (traced_until, trace_left) ON euiccs TO eim_operator;
GRANT SELECT, DELETE ON traces TO eim_worker;
