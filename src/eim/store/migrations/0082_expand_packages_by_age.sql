-- 0082_expand_packages_by_age.sql: packages whose octets are there, by age, whatever became of them.
-- Safe beside the previous release: one more index. It is built under a lock that lets reads pass: on a large
-- installation create it CONCURRENTLY by hand before (docs/upgrading.md); IF NOT EXISTS then skips it.

CREATE INDEX IF NOT EXISTS packages_by_age ON packages (bucket, sealed_at) WHERE digest IS NULL;
