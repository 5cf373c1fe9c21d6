-- What a task had done at up to 300 instants, for a plot: one row, written anew now and then.
CREATE TABLE throughput (
    task_no     bigint PRIMARY KEY REFERENCES task,
    interval_s  real NOT NULL,                    -- between two instants, at least; doubles when there are many
    data        bytea NOT NULL                    -- deflated JSON: [[seconds since 1970, bytes, files, faults], ...]
);
