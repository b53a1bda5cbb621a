-- What people ask of the evidence beyond reading it: explanations of single records on demand, and
-- decisions by what came of them.

-- A work list like audit_unexplained: a row goes away when its explanation is stored.
CREATE TABLE audit_explain_requests (
  record_id    uuid        PRIMARY KEY,
  received_at  timestamptz NOT NULL,  -- of the record, finds its partition
  requested_by text        NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT, INSERT ON audit_explain_requests TO interlock_control;
GRANT SELECT, DELETE ON audit_explain_requests TO interlock_explainer;
-- A row lock needs the right to update, although nothing is ever updated.
GRANT UPDATE (requested_at) ON audit_explain_requests TO interlock_explainer;

-- Outcomes and overrides by their word, and the newest of a record or a subject.
CREATE INDEX audit_events_outcome ON audit_events ((body ->> 'label'), record_id)
  WHERE kind = 'outcome';
CREATE INDEX audit_events_override ON audit_events ((body ->> 'decision'), record_id)
  WHERE kind = 'override';

-- Records that stand for a columnar part: few, and looked through for a subject.
CREATE INDEX audit_records_part ON audit_records (id) WHERE part IS NOT NULL;
