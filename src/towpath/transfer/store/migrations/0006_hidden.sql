-- A directory of a million files goes into the plan in parts, which nobody is to see before it has
-- been listed to its end. They have numbers from hidden_from on: showing them all is one update of
-- the task, where a state of each row would cost a second version of all of them.
ALTER TABLE task ADD COLUMN hidden_from bigint;
ALTER TABLE file DROP COLUMN compare;         -- the state says it from the beginning
-- Nearly all rows are pending, and come in the order of their numbers: an index of their own has
-- full pages (35 bytes a row instead of 75).
DROP INDEX file_open;
CREATE INDEX file_pending ON file (task_no, file_no) WHERE state = 1;
CREATE INDEX file_other ON file (task_no, state, file_no) WHERE state <> 1;
-- Each row is written two or three times in its life; dead versions are half of the table's size if
-- they are left until they are a fifth of it.
ALTER TABLE file SET (
    autovacuum_vacuum_scale_factor = 0.03, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);
