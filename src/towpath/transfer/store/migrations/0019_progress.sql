-- Bytes of the files that a transfer has found and means to copy, those that it has copied included.
-- NULL: it began before they were counted.
ALTER TABLE task ADD COLUMN bytes_found bigint;
ALTER TABLE task ALTER COLUMN bytes_found SET DEFAULT 0;
