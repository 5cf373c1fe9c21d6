-- Of the plan of a delete: JSON, the links among the directories above what is named, with their targets. NULL: not known yet.
ALTER TABLE plan ADD COLUMN links_above bytea;
