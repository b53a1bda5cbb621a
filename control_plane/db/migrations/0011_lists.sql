-- Indexes for lists that grow: validations, newest first, and answers that are not 200.
CREATE INDEX validations_recent ON validations (created_at DESC, id DESC);
CREATE INDEX audit_records_refused ON audit_records (id) WHERE status <> 200;
