-- 0040_expand_room.sql: pages of the tables whose rows change most keep room for the next version of a row.
-- Safe beside the previous release: a setting for pages that are filled from now on, no row is rewritten.

-- A counter, an ordinal, a time last seen: no index holds these, so with room on its page a row that changes costs no
-- entry in any of the indexes of `euiccs`.
ALTER TABLE euiccs SET (fillfactor = 75);
-- A row takes several times the place while a package is in it.
ALTER TABLE mailbox SET (fillfactor = 40);
ALTER TABLE operations SET (fillfactor = 80);
