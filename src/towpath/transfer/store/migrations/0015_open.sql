-- Tasks that are over stay for months. Who looks for one that is not must not look through them.
CREATE INDEX task_open ON task (task_no) WHERE status IN ('ACTIVE', 'INACTIVE');
