-- The administrative log by what was done: every question to the evidence is a row of it.
CREATE INDEX admin_log_action ON admin_log (action COLLATE "C", id);
