-- The Transfer service's own schema. Ids that outsiders see are UUIDs; the plan, which may hold
-- a million live rows, is keyed by small integers (<= 250 bytes a live file, invariant I5).

CREATE TABLE endpoint (
    id            uuid PRIMARY KEY,
    owner_id      uuid NOT NULL,
    owner_string  text NOT NULL,
    display_name  text NOT NULL,
    host          text NOT NULL,
    port          integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    subject       text,                          -- expected host certificate subject, if it is not the host's name
    trust_roots   jsonb NOT NULL DEFAULT '{}',   -- {file name: text} of a trusted-certificates directory
    data_hosts    text[] NOT NULL DEFAULT '{}',  -- further addresses its passive replies may name
    public        boolean NOT NULL DEFAULT true,
    details       jsonb NOT NULL DEFAULT '{}',   -- description, organization, keywords, contact ... as the API shows them
    created_at    timestamptz NOT NULL DEFAULT now(),
    deleted_at    timestamptz
);
CREATE INDEX endpoint_owner ON endpoint (owner_id) WHERE deleted_at IS NULL;

CREATE TABLE credential (
    endpoint_id  uuid NOT NULL REFERENCES endpoint (id),
    owner_id     uuid NOT NULL,
    sealed       bytea NOT NULL,                 -- PEM, encrypted under the operator's key (I6)
    subject      text NOT NULL,
    not_after    timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id, owner_id)
);

CREATE TABLE task (
    task_no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             uuid NOT NULL UNIQUE,
    owner_id       uuid NOT NULL,
    username       text NOT NULL,
    submission_id  uuid NOT NULL,
    type           text NOT NULL CHECK (type IN ('TRANSFER', 'DELETE')),
    status         text NOT NULL DEFAULT 'ACTIVE'
                   CHECK (status IN ('ACTIVE', 'INACTIVE', 'SUCCEEDED', 'FAILED')),
    label          text,
    options        jsonb NOT NULL,               -- the options as accepted, without the items
    source_endpoint_id       uuid NOT NULL REFERENCES endpoint (id),   -- DELETE: the endpoint
    destination_endpoint_id  uuid REFERENCES endpoint (id),
    request_time     timestamptz NOT NULL DEFAULT now(),
    completion_time  timestamptz,
    deadline         timestamptz NOT NULL,
    cancel_requested boolean NOT NULL DEFAULT false,
    fatal_error      jsonb,                      -- {code, description}
    -- what the last error event said; cleared by progress
    nice_status          text,
    nice_status_details  text,
    -- lease: the right of one worker to act (I3)
    lease_worker   text,
    lease_epoch    bigint NOT NULL DEFAULT 0,
    lease_until    timestamptz,
    not_before     timestamptz NOT NULL DEFAULT now(),  -- backing off: not admitted earlier
    failures_in_a_row integer NOT NULL DEFAULT 0,
    last_batch     bigint NOT NULL DEFAULT 0,    -- the recorder's last commit, so that none is repeated
    -- counters (API names)
    files              bigint NOT NULL DEFAULT 0,
    directories        bigint NOT NULL DEFAULT 0,
    symlinks           bigint NOT NULL DEFAULT 0,
    files_skipped      bigint NOT NULL DEFAULT 0,
    files_transferred  bigint NOT NULL DEFAULT 0,
    bytes_transferred  bigint NOT NULL DEFAULT 0,
    bytes_checksummed  bigint NOT NULL DEFAULT 0,
    bytes_resent       bigint NOT NULL DEFAULT 0,  -- sent again after a fault: the price of recovery
    faults             bigint NOT NULL DEFAULT 0,
    subtasks_failed    bigint NOT NULL DEFAULT 0,
    started_at         timestamptz,
    UNIQUE (owner_id, submission_id)
);
CREATE INDEX task_active ON task (not_before) WHERE status = 'ACTIVE';
CREATE INDEX task_by_owner ON task (owner_id, request_time DESC);

-- What the user asked for.
CREATE TABLE item (
    task_no           bigint NOT NULL REFERENCES task,
    item_no           integer NOT NULL,
    source_path       text NOT NULL,
    destination_path  text,                       -- NULL in a delete task
    recursive         boolean,                    -- NULL: find out
    PRIMARY KEY (task_no, item_no)
);

-- Directories still to list; a row leaves in the transaction that adds what it held (I4).
CREATE TABLE frontier (
    task_no  bigint NOT NULL REFERENCES task,
    dir_no   bigint NOT NULL,
    item_no  integer NOT NULL,
    path     bytea NOT NULL,                      -- below the item's source path; '' is the item itself
    attempt  smallint NOT NULL DEFAULT 0,
    not_before timestamptz,                       -- a directory that could not be listed backs off
    PRIMARY KEY (task_no, dir_no)
);

-- The plan: files found and not yet finished.
CREATE TABLE file (
    task_no    bigint NOT NULL,
    file_no    bigint NOT NULL,
    item_no    integer NOT NULL,
    state      smallint NOT NULL DEFAULT 1,       -- 0 listing, 1 pending, 2 in flight, 3 contested
    attempt    smallint NOT NULL DEFAULT 0,
    epoch      integer,                           -- of the lease that sent it, with its lane
    lane       smallint,
    size       bigint NOT NULL,
    modified   bigint,                            -- seconds since 1970, UTC, as listed
    not_before timestamptz,                       -- a file that backs off by itself
    path       bytea NOT NULL,                    -- below the item's source path; '' is the item itself
    PRIMARY KEY (task_no, file_no)
);
CREATE INDEX file_open ON file (task_no, state, file_no);
-- Large files are looked for among many small ones; the bound is LARGE_FILE_BYTES of store/plan.py.
CREATE INDEX file_large ON file (task_no, file_no) WHERE state = 1 AND size >= 67108864;

-- Restart points of large files: ranges that both servers confirmed.
CREATE TABLE file_range (
    task_no  bigint NOT NULL,
    file_no  bigint NOT NULL,
    first    bigint NOT NULL,
    after    bigint NOT NULL,                     -- half open: [first, after)
    verified boolean NOT NULL,
    session_generation integer NOT NULL,          -- which destination session wrote it; an older one is compared again (I4)
    PRIMARY KEY (task_no, file_no, first)
);

CREATE TABLE event (
    task_no      bigint NOT NULL REFERENCES task,
    seq          bigint GENERATED ALWAYS AS IDENTITY,
    at           timestamptz NOT NULL DEFAULT now(),
    code         text NOT NULL,
    is_error     boolean NOT NULL,
    description  text NOT NULL,
    details      text NOT NULL,
    PRIMARY KEY (task_no, seq)
);

-- Finished files: compressed segments, one row each (<= 60 bytes a finished file).
CREATE TABLE history_segment (
    task_no     bigint NOT NULL REFERENCES task,
    segment_no  bigint GENERATED ALWAYS AS IDENTITY,
    files       integer NOT NULL,
    bytes       bigint NOT NULL,
    data        bytea NOT NULL,
    PRIMARY KEY (task_no, segment_no)
);
