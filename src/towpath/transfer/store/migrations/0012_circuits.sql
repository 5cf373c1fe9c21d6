-- Servers that do not answer, as tasks' endpoints name them: open circuits. A row goes when a probe
-- finds the server, or when no task needs it any more.
CREATE TABLE circuit (
    host           text NOT NULL,
    port           integer NOT NULL,
    since          timestamptz NOT NULL DEFAULT now(),
    next_probe     timestamptz NOT NULL DEFAULT now(),
    failed_probes  integer NOT NULL DEFAULT 0,  -- 0: only a login has failed yet
    code           text,                        -- of the last failed probe: the event code, and words
    error          text,
    PRIMARY KEY (host, port)
);
CREATE INDEX endpoint_server ON endpoint (host, port);
