-- A page of ours to which a login at an upstream leads back.
ALTER TABLE upstream_attempt ADD COLUMN place text;
