-- Within one server: places in the destinations of a mirroring transfer (delete_destination_extra) to
-- which links of its source lead. What is there is not deleted; rows leave with the task.
CREATE TABLE linked (
    task_no   bigint NOT NULL REFERENCES task,
    item_no   integer NOT NULL,
    path      bytea NOT NULL,                     -- below the item's destination path
    PRIMARY KEY (task_no, item_no, path)
);
