-- What is done with every submission, cheaper (ADR 0026).

-- How many tasks of an owner are not finished, whatever he has had.
CREATE INDEX task_open_of_owner ON task (owner_id)
    WHERE status IN ('ACTIVE', 'INACTIVE') AND type <> 'PLAN';

-- How new tasks stand is noted once for all of a statement, and not by a query that is made for each.
CREATE FUNCTION note_first_standings() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$      -- the table's schema, also for somebody at the database's prompt
BEGIN
    INSERT INTO task_standing (task_no, at, status, paused, suspended, epoch, waits_for, not_before)
    SELECT task_no, request_time, status, paused_at IS NOT NULL OR held_at IS NOT NULL,
           suspended_from IS NOT NULL, CASE WHEN lease_worker IS NOT NULL THEN lease_epoch END,
           waits_for, not_before
      FROM made;
    RETURN NULL;
END $$;
DROP TRIGGER standing_first ON task;
CREATE TRIGGER standing_first AFTER INSERT ON task REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION note_first_standings();
