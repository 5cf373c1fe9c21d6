-- The audit log. Acts are recorded in `audit_pending` by the transaction that does them; a sealer
-- moves them into `audit` in order, where each row's hash covers all rows before it.

CREATE TABLE audit_pending (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind        text NOT NULL,
    actor       uuid,                            -- no references: a record outlives what it names
    subject     text,
    client      uuid,
    address     text,
    request_id  text,
    details     jsonb NOT NULL
);

CREATE TABLE audit (
    sequence       bigint PRIMARY KEY,           -- 1, 2, 3 ... without a gap
    at             timestamptz NOT NULL,
    kind           text NOT NULL,
    actor          uuid,
    subject        text,
    client         uuid,
    address        text,
    request_id     text,
    details        jsonb NOT NULL,
    previous_hash  bytea NOT NULL,
    hash           bytea NOT NULL
);
CREATE INDEX audit_kind ON audit (kind, sequence);
CREATE INDEX audit_actor ON audit (actor, sequence);
CREATE INDEX audit_at ON audit (at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only added to: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_is_only_added_to
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_pending_is_not_changed
    BEFORE UPDATE OR TRUNCATE ON audit_pending FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What an owner may do by itself it can be refused, too; a superuser is held by the triggers alone.
REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM CURRENT_USER, PUBLIC;
