-- Who holds leases, and which are whose. Not by `lease_until`, which each renewal moves.
CREATE INDEX task_leased ON task (lease_worker) WHERE lease_worker IS NOT NULL;
