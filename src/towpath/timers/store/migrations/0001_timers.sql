-- What people have set, and how far each is. A run is begun (its number and time are committed) before its transfer is
-- submitted, so that whoever goes on after a crash submits the same one again.
CREATE TABLE timer (
    id              uuid PRIMARY KEY,
    owner_id        uuid NOT NULL,
    name            text NOT NULL,
    callback_url    text NOT NULL,          -- as given; what a job of the older API says it calls
    callback_body   json NOT NULL,          -- as given
    scope           text,                   -- as given
    body            json NOT NULL,          -- the transfer document that each run submits
    start_at        timestamptz NOT NULL,
    interval_s      bigint,                 -- null: it runs once
    most_runs       integer,
    until           timestamptz,
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'ended')),
    inactive_cause  text CHECK (inactive_cause IN ('user', 'globus_auth_requirements')),
    inactive_detail json,
    since           timestamptz NOT NULL,   -- in this status
    submitted_at    timestamptz NOT NULL,
    next_run        timestamptz,
    last_ran_at     timestamptz,
    n_runs          integer NOT NULL DEFAULT 0,
    n_errors        integer NOT NULL DEFAULT 0,
    refresh_token   bytea,                  -- sealed; null when it has ended
    token_used_at   timestamptz NOT NULL,
    run_no          integer NOT NULL DEFAULT 0,     -- of the run begun last
    run_began_at    timestamptz,            -- not null: it is not over
    run_task_id     uuid,                   -- of that run
    run_attempts    integer NOT NULL DEFAULT 0,
    look_at         timestamptz,            -- when there is something to do; null: nothing
    lease_epoch     bigint NOT NULL DEFAULT 0,
    lease_until     timestamptz
);
CREATE INDEX timer_owner ON timer (owner_id);
CREATE INDEX timer_look ON timer (look_at) WHERE look_at IS NOT NULL;

-- The latest runs of each.
CREATE TABLE run (
    timer_id    uuid NOT NULL REFERENCES timer (id) ON DELETE CASCADE,
    run_no      integer NOT NULL,
    ran_at      timestamptz NOT NULL,
    http_status integer,                    -- of Transfer's answer; null: there was none
    task_id     uuid,
    task        json,                       -- the task's document when it was last seen
    errors      json,
    PRIMARY KEY (timer_id, run_no)
);

-- How far what nexus tells of accounts has been followed.
CREATE TABLE account_cursor (after bigint NOT NULL);
INSERT INTO account_cursor VALUES (0);
