-- A delete task that has begun finds missing what it has deleted itself.
ALTER TABLE task ADD COLUMN deleting boolean NOT NULL DEFAULT false;

-- What a mirroring transfer (delete_destination_extra) deletes in the end; rows leave as it does.
CREATE TABLE extra (
    task_no   bigint NOT NULL REFERENCES task,
    extra_no  bigint GENERATED ALWAYS AS IDENTITY,
    dir_no    bigint,                             -- while its directory is not listed to the end
    item_no   integer NOT NULL,
    path      bytea NOT NULL,                     -- below the item's destination path
    PRIMARY KEY (task_no, extra_no)
);
CREATE INDEX extra_unlisted ON extra (task_no, dir_no) WHERE dir_no IS NOT NULL;
ALTER TABLE task ADD COLUMN extra_files bigint NOT NULL DEFAULT 0;         -- deleted so far
ALTER TABLE task ADD COLUMN extra_directories bigint NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN unsure_directories bigint NOT NULL DEFAULT 0;  -- whose extras stay
