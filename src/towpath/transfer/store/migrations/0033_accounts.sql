-- Under which account a task runs at its source, and at its destination, as the servers greeted it; for those who look
-- after the endpoints. Null: not known (yet).
ALTER TABLE task ADD COLUMN source_local_user text, ADD COLUMN destination_local_user text;
