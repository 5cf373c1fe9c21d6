-- Directories of a directory that has not been listed to its end: like files in state 0 they are
-- not to be seen yet, and go if the listing fails.
ALTER TABLE frontier ADD COLUMN listing boolean NOT NULL DEFAULT false;
