-- 0037_expand_turns.sql: what each result writes costs less: an event's turn, and the state of a profile.
-- Safe beside the previous release: names and meaning stay, and its questions find the new index as they found the
-- former one. On a large installation create the index CONCURRENTLY by hand before (docs/upgrading.md); IF NOT EXISTS
-- then skips it.

-- As before, the transaction's id first: but one expression that names no schema at run time, so it becomes part of the
-- INSERT, and no function is called for each event.
CREATE OR REPLACE FUNCTION draw_event_turn() RETURNS bigint
LANGUAGE sql VOLATILE
RETURN CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('event_turns'::regclass) END;

-- No index says which profile is enabled, so a switch writes two rows and no index, where their pages have room.
CREATE INDEX IF NOT EXISTS profiles_of_carrier ON profiles (tenant, service_provider);
DROP INDEX profiles_by_carrier;
ALTER TABLE profiles SET (fillfactor = 80);
