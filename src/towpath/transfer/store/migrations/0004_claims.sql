-- One writer per destination (I9): the paths that unfinished tasks write or delete. A path has a slash at
-- its end, so that what is below it is one range of an index: '/a/' up to '/a0'.
CREATE TABLE claim (
    task_no  bigint NOT NULL,
    seq      bigint NOT NULL,      -- one for all claims of a task; where two overlap, the lower one goes first
    storage  text COLLATE "C" NOT NULL,
    path     bytea NOT NULL,
    is_tree  boolean NOT NULL,
    PRIMARY KEY (task_no, path)
);
CREATE INDEX claim_place ON claim (storage, path);
CREATE SEQUENCE claim_seq;
ALTER TABLE task ADD COLUMN waits_for bigint;  -- task_no of the one that goes first; over when that has ended
ALTER TABLE task ADD COLUMN waits_at text;     -- which of its own destination paths is concerned
CREATE INDEX task_waits ON task (waits_for) WHERE waits_for IS NOT NULL;
-- Set while its owner has it paused.
ALTER TABLE task ADD COLUMN paused_at timestamptz;
