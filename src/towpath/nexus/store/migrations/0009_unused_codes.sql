-- Codes that nobody fetched are looked for at each login. Used ones stay as long as their grant, and
-- must not be passed by one by one.
DROP INDEX authorization_code_expiry;
CREATE INDEX authorization_code_unused ON authorization_code (expires_at) WHERE used_at IS NULL;
