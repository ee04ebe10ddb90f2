-- 0016_expand_steps.sql: every operation of the standard, several in one package, and what results tell of a card.
-- Safe beside the previous release: it adds nullable columns, and rewrites no row.

-- The steps that the plain columns (kind, iccid, rollback) can't say; NULL: they say all.
ALTER TABLE operations ADD COLUMN details jsonb;

-- What results told of the card beside its profiles; NULL: nothing yet.
ALTER TABLE euiccs ADD COLUMN settings jsonb; -- defaultSmdpAddress, immediateEnable, rat: as they were last told
ALTER TABLE euiccs ADD COLUMN eims jsonb; -- the eIMs on it: [{"eim_id": .., "id_type": ..}]
ALTER TABLE euiccs ADD COLUMN eims_at timestamptz; -- when it last listed them
GRANT UPDATE (settings, eims, eims_at) ON euiccs TO eim_device, eim_worker;

ALTER TABLE profiles ADD COLUMN fallback_allowed boolean; -- NULL: the card did not say
