-- 0031_expand_glances.sql: polls find who is traced in an index of those alone.
-- Safe beside the previous release: one more index, which has next to no rows.
CREATE INDEX euiccs_traced_now ON euiccs (bucket, eid) WHERE traced_until IS NOT NULL;
