-- 0013_onboarding.sql: streamed imports, who calls and is not onboarded, groups, time zones, and tags that an index
-- finds behind row-level security. Safe beside the previous release: it adds, and rewrites no row.

ALTER TABLE euiccs ADD COLUMN group_name text;
ALTER TABLE euiccs ADD COLUMN time_zone text; -- a name of the IANA database
CREATE INDEX euiccs_by_group ON euiccs (tenant, group_name, created_at, eid) WHERE group_name IS NOT NULL;
GRANT UPDATE (group_name, time_zone) ON euiccs TO eim_operator;

-- A tag a row. `tags @> ...` is not leakproof, so behind row-level security no index of the array is ever used; and an
-- index of the array has no order, so a page of a common tag would sort all that have it.
CREATE TABLE euicc_tags (
    bucket smallint NOT NULL,
    eid bytea NOT NULL,
    tag text NOT NULL,
    tenant smallint NOT NULL,
    created_at timestamptz NOT NULL, -- the eUICC's
    PRIMARY KEY (bucket, eid, tag),
    FOREIGN KEY (bucket, eid) REFERENCES euiccs (bucket, eid) ON DELETE CASCADE
);
CREATE INDEX euicc_tags_listed ON euicc_tags (tenant, tag, created_at, eid);
INSERT INTO euicc_tags (bucket, eid, tag, tenant, created_at)
SELECT e.bucket, e.eid, t.tag, e.tenant, e.created_at
  FROM generate_series(0, 1023) AS b (bucket)
  JOIN euiccs e ON e.bucket = b.bucket
 CROSS JOIN LATERAL (SELECT DISTINCT unnest(e.tags) AS tag) t;
ALTER TABLE euicc_tags ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON euicc_tags TO eim_device, eim_worker USING (true);
CREATE POLICY own_tenant ON euicc_tags TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
GRANT SELECT, INSERT, DELETE ON euicc_tags TO eim_operator;
GRANT SELECT ON euicc_tags TO eim_worker;

-- A file that is, or was, uploaded; it goes on where it ended when the same comes again under its key.
CREATE TABLE imports (
    id uuid PRIMARY KEY,
    tenant smallint NOT NULL REFERENCES tenants (id),
    key text NOT NULL,
    terms bytea NOT NULL, -- SHA-256 of the format and the options
    digest bytea NOT NULL, -- SHA-256 of the records taken so far
    records bigint NOT NULL DEFAULT 0, -- taken so far
    accepted bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    actor text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (tenant, key)
);
CREATE INDEX imports_listed ON imports (tenant, created_at, id);
CREATE TABLE import_problems (
    import uuid NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    line bigint NOT NULL, -- of the file, from 1
    tenant smallint NOT NULL REFERENCES tenants (id),
    code text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (import, line)
);
ALTER TABLE imports ENABLE ROW LEVEL SECURITY;
ALTER TABLE import_problems ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_tenants ON imports TO eim_worker USING (true);
CREATE POLICY all_tenants ON import_problems TO eim_worker USING (true);
CREATE POLICY own_tenant ON imports TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
CREATE POLICY own_tenant ON import_problems TO eim_operator
    USING (tenant = NULLIF(current_setting('eim.tenant', true), '')::smallint);
GRANT SELECT, INSERT ON imports, import_problems TO eim_operator;
GRANT UPDATE (digest, records, accepted, refused, changed_at, finished_at) ON imports TO eim_operator;
GRANT SELECT, DELETE ON imports, import_problems TO eim_worker;

-- EIDs that call us and that nobody onboarded. They are of no tenant: the installation's own sees them.
CREATE TABLE unknown_callers (
    eid bytea PRIMARY KEY CHECK (length(eid) = 16),
    source text NOT NULL, -- the network of the last call: /24 or /48
    polls bigint NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unknown_callers_listed ON unknown_callers ((-polls), eid);
ALTER TABLE unknown_callers ENABLE ROW LEVEL SECURITY;
CREATE POLICY installation ON unknown_callers TO eim_operator
    USING (NULLIF(current_setting('eim.tenant', true), '')::smallint = 1);
GRANT SELECT, DELETE ON unknown_callers TO eim_operator;

-- The device role adds to it here and in no other way, so the bounds are the database's own: 10,000 rows, of which one
-- network fills a quarter at most. Who calls most often stays; random EIDs call once.
CREATE FUNCTION note_unknown_callers(
    of_buckets smallint[], of_eids bytea[], of_sources text[], of_polls bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
AS $body$
    INSERT INTO unknown_callers AS u (eid, source, polls)
    SELECT n.eid, n.source, n.polls
      FROM unnest(of_buckets, of_eids, of_sources, of_polls) AS n (bucket, eid, source, polls)
     WHERE NOT EXISTS (SELECT 1 FROM euiccs e WHERE e.bucket = n.bucket AND e.eid = n.eid)
     ORDER BY n.eid LIMIT 5000
        ON CONFLICT (eid) DO UPDATE
       SET polls = u.polls + excluded.polls, source = excluded.source, last_seen_at = now();
    DELETE FROM unknown_callers WHERE last_seen_at < now() - interval '30 days';
    DELETE FROM unknown_callers WHERE eid IN (
        SELECT r.eid
          FROM (SELECT c.eid,
                       row_number() OVER (PARTITION BY c.source ORDER BY c.polls DESC, c.last_seen_at DESC) AS place
                  FROM unknown_callers c) r
         WHERE r.place > 2500);
    DELETE FROM unknown_callers WHERE eid IN (
        SELECT c.eid FROM unknown_callers c ORDER BY c.polls DESC, c.last_seen_at DESC OFFSET 10000);
$body$;
REVOKE ALL ON FUNCTION note_unknown_callers(smallint[], bytea[], text[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_unknown_callers(smallint[], bytea[], text[], bigint[]) TO eim_device;

-- Pages by a filter that few pass, in the list's order. None holds a column that a poll writes: such an update touches
-- no index.
CREATE INDEX euiccs_labelled ON euiccs (tenant, label text_pattern_ops) WHERE label IS NOT NULL;
CREATE INDEX euiccs_by_speaks ON euiccs (tenant, speaks, created_at, eid);
CREATE INDEX euiccs_unverifiable ON euiccs (tenant, created_at, eid) WHERE unverifiable;
CREATE INDEX euiccs_by_plmn ON euiccs (tenant, plmn, created_at, eid) WHERE plmn IS NOT NULL;
