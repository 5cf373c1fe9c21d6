-- Symbolic links to be made when all files are there (recursive_symlinks 'keep'), many to a row.
CREATE TABLE link_segment (
    task_no     bigint NOT NULL REFERENCES task,
    segment_no  bigint GENERATED ALWAYS AS IDENTITY,
    links       integer NOT NULL,
    data        bytea NOT NULL,
    PRIMARY KEY (task_no, segment_no)
);

-- What of a task was not carried over: a row for each kind that was found.
CREATE TABLE fidelity (
    task_no   bigint NOT NULL REFERENCES task,
    kind      text NOT NULL,
    count     bigint NOT NULL DEFAULT 0,
    unseen    bigint NOT NULL DEFAULT 0,          -- entries that could not be looked at for it
    examples  jsonb NOT NULL DEFAULT '[]',        -- the first few: [[source path, details], ...]
    PRIMARY KEY (task_no, kind)
);
