-- What people are told, by mail and through their webhooks: written in the transaction of the change that it tells
-- (ADR 0024), delivered afterwards.

CREATE TABLE webhook (
    id                 uuid PRIMARY KEY,
    owner_id           uuid NOT NULL,
    url                text NOT NULL,
    description        text NOT NULL DEFAULT '',
    topics             text[] NOT NULL,
    authority          text,                     -- certificates, PEM, that its server is checked against too
    sealed_secret      bytea NOT NULL,
    sealed_earlier     bytea,                    -- the secret before, while both sign
    earlier_until      timestamptz,
    enabled            boolean NOT NULL DEFAULT true,
    disabled_because   text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    failures_in_a_row  integer NOT NULL DEFAULT 0,
    failing_since      timestamptz
);
CREATE INDEX webhook_owner ON webhook (owner_id);

-- A row for each delivery. While it is being delivered, due_at is when somebody else may try it.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    uuid NOT NULL,                 -- of the change: the same with every attempt
    topic         text NOT NULL,
    recipient_id  uuid NOT NULL,
    webhook_id    uuid REFERENCES webhook ON DELETE CASCADE,  -- NULL: by mail
    target_id     uuid NOT NULL,                 -- the webhook; of a mail the recipient
    document      json NOT NULL,                 -- not jsonb: names of files hold what that refuses
    more          integer NOT NULL DEFAULT 0,    -- changes that are not told, because so many waited
    created_at    timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(),
    taken         boolean NOT NULL DEFAULT false,
    state         text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    attempts      integer NOT NULL DEFAULT 0,
    attempted_at  timestamptz,
    status        integer,                       -- what the server answered last, if it did
    error         text
);
CREATE INDEX outbox_due ON outbox (due_at) WHERE state = 'waiting';
CREATE INDEX outbox_taken ON outbox (target_id) WHERE taken;
CREATE INDEX outbox_target ON outbox (target_id, id) WHERE state = 'waiting';
CREATE INDEX outbox_webhook ON outbox (webhook_id, id) WHERE webhook_id IS NOT NULL;
CREATE INDEX outbox_over ON outbox (created_at) WHERE state <> 'waiting';

-- Who wants no mail of what becomes of tasks.
CREATE TABLE mail_off (
    identity_id  uuid PRIMARY KEY,
    since        timestamptz NOT NULL DEFAULT now()
);

-- Manifests are signed with a key of their own.
ALTER TABLE connect_key DROP CONSTRAINT connect_key_purpose_check;
ALTER TABLE connect_key ADD CONSTRAINT connect_key_purpose_check
    CHECK (purpose IN ('authority', 'grants', 'manifests'));
-- What both servers computed over a range, in hex. NULL: it was not compared, or not kept.
ALTER TABLE file_range ADD COLUMN algorithm text;
ALTER TABLE file_range ADD COLUMN digest text;
