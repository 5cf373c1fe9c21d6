-- What owners are told by mail, written in the transaction of the change that it tells (ADR 0024). One message at most
-- waits for each timer. While it is being delivered, due_at is when somebody else may try it.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    uuid NOT NULL,             -- of the change: the same with every attempt
    topic         text NOT NULL,
    timer_id      uuid NOT NULL REFERENCES timer (id) ON DELETE CASCADE,
    recipient_id  uuid NOT NULL,
    document      json NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(),
    taken         boolean NOT NULL DEFAULT false,
    state         text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    attempts      integer NOT NULL DEFAULT 0,
    attempted_at  timestamptz,
    status        integer,                   -- what the mail server answered last, if it did
    error         text
);
CREATE UNIQUE INDEX outbox_waiting ON outbox (timer_id) WHERE state = 'waiting';
CREATE INDEX outbox_due ON outbox (due_at) WHERE state = 'waiting';
CREATE INDEX outbox_timer ON outbox (timer_id);
CREATE INDEX outbox_over ON outbox (created_at) WHERE state <> 'waiting';
