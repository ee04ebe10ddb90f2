-- 0004_leases.sql: one lease a bucket, free at first (design 3.6).
INSERT INTO leases (bucket) SELECT generate_series(0, 1023);
