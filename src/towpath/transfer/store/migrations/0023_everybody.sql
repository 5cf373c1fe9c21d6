-- Rules for everybody are looked for by each search.
CREATE INDEX access_rule_everybody ON access_rule (endpoint_id) WHERE principal IS NULL;
