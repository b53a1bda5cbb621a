-- The evidence, read only. `{where}` and `{window}` are filled with conditions from a fixed list in
-- search.py; values are always parameters. Ids are UUIDv7: ordering by id is ordering by time.

-- name: by_time
-- In days that are over: their indexes have a filter's column first and then the time.
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq
FROM audit_records
WHERE {window} AND {where}
ORDER BY received_at DESC, id DESC
LIMIT {limit}

-- name: rare
-- Answers other than 200 have an index of their own.
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq
FROM audit_records
WHERE {window} AND status <> 200 AND {where}
ORDER BY id DESC
LIMIT {limit}

-- name: bounded
-- The newest {most} rows and no more; the last of them comes along, so that the next page begins
-- behind it.
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq, examined, coalesce({where}, false) AS matches
FROM (
    SELECT newest.*, row_number() OVER () AS examined FROM (
        SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
            package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
            retention_class, latency_us, explain, reason, rows, writer, seq
        FROM audit_records
        WHERE {window}
        ORDER BY id DESC
        LIMIT {most}
    ) newest
) counted
WHERE {where} OR examined = {most}
LIMIT {limit}

-- name: by_key
-- With a selective key: find its rows by that index first, then sort the few.
WITH found AS MATERIALIZED (
    SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
        package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
        retention_class, latency_us, explain, reason, rows, writer, seq
    FROM audit_records
    WHERE {where}
)
SELECT * FROM found ORDER BY id DESC LIMIT {limit}

-- name: outcome
-- An event names its record, or a subject: then it is about what was decided of him before.
id IN (SELECT e.record_id FROM audit_events e
        WHERE e.kind = 'outcome' AND e.body ->> 'label' = {0} AND e.record_id IS NOT NULL
        UNION ALL
       SELECT r.id FROM audit_events e JOIN audit_records r
           ON r.subject_ref = e.subject_ref AND r.received_at <= e.at
        WHERE e.kind = 'outcome' AND e.body ->> 'label' = {0} AND e.record_id IS NULL)

-- name: override
id IN (SELECT e.record_id FROM audit_events e
        WHERE e.kind = 'override' AND e.body ->> 'decision' = {0} AND e.record_id IS NOT NULL
        UNION ALL
       SELECT r.id FROM audit_events e JOIN audit_records r
           ON r.subject_ref = e.subject_ref AND r.received_at <= e.at
        WHERE e.kind = 'override' AND e.body ->> 'decision' = {0} AND e.record_id IS NULL)

-- name: outcome_of_record
-- From the newest decision back; the time in an id says which day to read.
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq
FROM (
    SELECT DISTINCT record_id FROM audit_events
    WHERE kind = 'outcome' AND body ->> 'label' = {said} AND record_id IS NOT NULL
        AND {before_record}
    ORDER BY record_id DESC
) said
JOIN LATERAL (
    SELECT * FROM audit_records r
    WHERE r.id = said.record_id
        AND r.received_at >= uuid_extract_timestamp(said.record_id) - interval '1 second'
        AND r.received_at < uuid_extract_timestamp(said.record_id) + interval '1 second'
) found ON true
WHERE {where}
LIMIT {limit}

-- name: outcome_of_subject
-- An event about a subject is about what was decided of him before.
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq
FROM audit_records
WHERE {where} AND {before} AND id IN (
    SELECT r.id FROM audit_events e JOIN audit_records r
        ON r.subject_ref = e.subject_ref AND r.received_at <= e.at
    WHERE e.kind = 'outcome' AND e.body ->> 'label' = {said} AND e.record_id IS NULL)
ORDER BY id DESC
LIMIT {limit}

-- name: override_of_record
-- From the newest decision back; the time in an id says which day to read.
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq
FROM (
    SELECT DISTINCT record_id FROM audit_events
    WHERE kind = 'override' AND body ->> 'decision' = {said} AND record_id IS NOT NULL
        AND {before_record}
    ORDER BY record_id DESC
) said
JOIN LATERAL (
    SELECT * FROM audit_records r
    WHERE r.id = said.record_id
        AND r.received_at >= uuid_extract_timestamp(said.record_id) - interval '1 second'
        AND r.received_at < uuid_extract_timestamp(said.record_id) + interval '1 second'
) found ON true
WHERE {where}
LIMIT {limit}

-- name: override_of_subject
-- An event about a subject is about what was decided of him before.
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq
FROM audit_records
WHERE {where} AND {before} AND id IN (
    SELECT r.id FROM audit_events e JOIN audit_records r
        ON r.subject_ref = e.subject_ref AND r.received_at <= e.at
    WHERE e.kind = 'override' AND e.body ->> 'decision' = {said} AND e.record_id IS NULL)
ORDER BY id DESC
LIMIT {limit}

-- name: one
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
    package_digest, key_id, request_id, subject_ref, decision, decision_rule, status, durability,
    retention_class, latency_us, explain, reason, rows, writer, seq, features, context, defaults,
    outputs, error, idempotency_key, part, traceparent, batch, leaf
FROM audit_records
WHERE id = $1 AND received_at >= $2 AND received_at < $3
LIMIT 1

-- name: explanation
SELECT state, method, space, base, phi, reasons, residual, detail, created_at
FROM audit_explanations WHERE id = $1 ORDER BY created_at DESC LIMIT 1

-- name: release
SELECT id, number, digest, release_state(id) AS state, proposed_by, editors, justification, at
FROM releases WHERE endpoint = $1 AND number = $2

-- name: model
SELECT model AS name, version, package_digest AS package, state, created_by AS trained_by,
    contributors, run_id
FROM model_versions WHERE model = $1 AND version = $2

-- name: model_approvals
SELECT approver, role, key_id, issued_at, expires_at FROM model_approvals
WHERE model = $1 AND version = $2 ORDER BY at

-- name: release_approvals
SELECT a.approver, u.role, a.key_id, a.issued_at, a.expires_at
FROM release_approvals a LEFT JOIN users u ON u.email = a.approver
WHERE a.release = $1 ORDER BY a.at

-- name: events
SELECT id, at, kind, actor, body FROM audit_events WHERE record_id = $1 ORDER BY at, id LIMIT 200

-- name: features
SELECT features, received_at FROM audit_records
WHERE id = $1 AND received_at >= $2 AND received_at < $3
LIMIT 1

-- name: ask_explanation
INSERT INTO audit_explain_requests (record_id, received_at, requested_by) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING

-- name: policies
SELECT retention_class, keep_days, reason, legal_hold FROM audit_retention
WHERE retention_class > $1 ORDER BY retention_class LIMIT $2

-- name: set_policy
INSERT INTO audit_retention (retention_class, keep_days, reason, legal_hold)
VALUES ($1, $2, $3, $4)
ON CONFLICT (retention_class) DO UPDATE
    SET keep_days = excluded.keep_days, reason = excluded.reason, legal_hold = excluded.legal_hold

-- name: disposals
SELECT partition, retention_class, day, rows, archive, archive_digest, disposed_at
FROM audit_disposals WHERE partition > $1 ORDER BY partition LIMIT $2

-- name: parts
SELECT id, part, rows, features, received_at, endpoint, release FROM audit_records
WHERE part IS NOT NULL AND ($1::text IS NULL OR endpoint = $1)
    AND received_at >= $2 AND received_at < $3 AND id > $4
ORDER BY id LIMIT $5
