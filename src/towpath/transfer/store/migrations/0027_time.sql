-- Where the time of tasks goes (ADR 0025). How a task stands is noted whenever that changes, whoever
-- changes it; who drives a task, or tells of it, makes seconds of what was noted.
CREATE TABLE task_standing (
    task_no     bigint NOT NULL,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    status      text NOT NULL,
    paused      boolean NOT NULL,
    suspended   boolean NOT NULL,                 -- with its owner
    epoch       bigint,                           -- of the lease; NULL: nobody has one
    waits_for   bigint,                           -- task_no
    not_before  timestamptz NOT NULL,
    PRIMARY KEY (task_no, seq)
);
CREATE TABLE task_time (
    task_no  bigint PRIMARY KEY,
    until    timestamptz NOT NULL,                -- what was before is in `spent`
    spent    jsonb NOT NULL,                      -- {category: {detail: seconds}}
    doing    jsonb NOT NULL                       -- the same, of the last stretch under a lease
);
-- Servers that did not answer; those that still do not are in `circuit`.
CREATE TABLE outage (
    host   text NOT NULL,
    port   integer NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL
);
CREATE INDEX outage_server ON outage (host, port, since);

-- The schema is the table's: also somebody at the database's prompt has his changes noted.
CREATE FUNCTION note_standing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO %I.task_standing (task_no, at, status, paused, suspended, epoch, waits_for,'
        ' not_before) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', TG_TABLE_SCHEMA)
    USING NEW.task_no, CASE TG_OP WHEN 'INSERT' THEN NEW.request_time ELSE clock_timestamp() END,
          NEW.status, NEW.paused_at IS NOT NULL OR NEW.held_at IS NOT NULL,
          NEW.suspended_from IS NOT NULL,
          CASE WHEN NEW.lease_worker IS NOT NULL THEN NEW.lease_epoch END, NEW.waits_for,
          NEW.not_before;
    RETURN NULL;
END $$;
CREATE TRIGGER standing_first AFTER INSERT ON task
    FOR EACH ROW EXECUTE FUNCTION note_standing();
CREATE TRIGGER standing AFTER UPDATE OF status, paused_at, held_at, suspended_from, waits_for,
        lease_worker, lease_epoch ON task
    FOR EACH ROW
    WHEN ((OLD.status, OLD.paused_at IS NULL AND OLD.held_at IS NULL, OLD.suspended_from IS NULL, OLD.waits_for,
           OLD.lease_worker, OLD.lease_epoch) IS DISTINCT FROM
          (NEW.status, NEW.paused_at IS NULL AND NEW.held_at IS NULL, NEW.suspended_from IS NULL, NEW.waits_for,
           NEW.lease_worker, NEW.lease_epoch))
    EXECUTE FUNCTION note_standing();

-- A hundred for each server: a task that waits is looked at between any two of them.
CREATE FUNCTION note_outage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.outage (host, port, since, until) VALUES ($1, $2, $3, $4)',
                   TG_TABLE_SCHEMA)
    USING OLD.host, OLD.port, OLD.since, clock_timestamp();
    EXECUTE format(
        'DELETE FROM %1$I.outage WHERE host = $1 AND port = $2 AND since < (SELECT since'
        ' FROM %1$I.outage WHERE host = $1 AND port = $2 ORDER BY since DESC OFFSET 99 LIMIT 1)',
        TG_TABLE_SCHEMA)
    USING OLD.host, OLD.port;
    RETURN NULL;
END $$;
CREATE TRIGGER over AFTER DELETE ON circuit
    FOR EACH ROW WHEN (OLD.failed_probes > 0) EXECUTE FUNCTION note_outage();

-- Plans: what a transfer would do. The walk of a plan is a task of its own type, that nobody sees.
ALTER TABLE task DROP CONSTRAINT task_type_check;
ALTER TABLE task ADD CONSTRAINT task_type_check CHECK (type IN ('TRANSFER', 'DELETE', 'PLAN'));
CREATE TABLE plan (
    task_no     bigint PRIMARY KEY REFERENCES task,
    expires_at  timestamptz NOT NULL,
    dropped     boolean NOT NULL DEFAULT false,   -- its owner does not want it any more
    applied_by  bigint REFERENCES task,           -- the transfer that does what it says
    cursor      bigint NOT NULL DEFAULT 0         -- of that one: it has come so far among the entries
);
CREATE INDEX plan_applied ON plan (applied_by);
CREATE TABLE plan_entry (
    task_no   bigint NOT NULL,
    entry_no  bigint GENERATED ALWAYS AS IDENTITY,
    dir_no    bigint,                             -- while its directory is being listed
    item_no   integer NOT NULL,
    path      bytea NOT NULL,                     -- below the item's paths; '' is the item itself
    above     smallint NOT NULL,                  -- a directory so many levels above the item's destination
    action    text NOT NULL,
    reason    text NOT NULL,
    here      bytea,                              -- JSON: what is at the source, and what at the destination
    there     bytea,
    details   text NOT NULL,
    PRIMARY KEY (task_no, entry_no)
);
