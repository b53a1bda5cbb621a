-- name: profile
SELECT profile FROM compliance_profiles WHERE model = $1 ORDER BY id DESC LIMIT 1

-- name: set_profile
INSERT INTO compliance_profiles (model, profile, actor) VALUES ($1, $2, $3)

-- name: answers
-- The newest answer to each item, with its review, as known at a time.
SELECT DISTINCT ON (a.item) a.id, a.item, a.value, a.source, a.author, a.at, a.evidence,
    coalesce(r.reviewer, '') AS reviewer, a.not_applicable, a.carried, a.valid_until
FROM compliance_answers a
LEFT JOIN compliance_reviews r ON r.answer = a.id AND r.at <= $3
WHERE a.model = $1 AND a.version = $2 AND a.at <= $3
ORDER BY a.item, a.id DESC

-- name: add_answer
INSERT INTO compliance_answers
    (model, version, item, value, source, evidence, not_applicable, carried, valid_until, author)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id

-- name: newest_answer
SELECT id FROM compliance_answers WHERE model = $1 AND version = $2 AND item = $3
ORDER BY id DESC LIMIT 1

-- name: add_review
INSERT INTO compliance_reviews (answer, reviewer) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: earlier_version
-- The newest older version that has answers by people.
SELECT max(version) FROM compliance_answers
WHERE model = $1 AND version < $2 AND source = 'human'

-- name: findings
SELECT f.id, f.section, f.severity, f.text, f.owner, f.due, f.opened_by, f.at
FROM compliance_findings f
WHERE f.model = $1 AND f.version = $2 AND f.at <= $3 AND NOT EXISTS (
    SELECT FROM compliance_closings c WHERE c.finding = f.id AND c.at <= $3)
ORDER BY f.at, f.id

-- name: add_finding
INSERT INTO compliance_findings (model, version, section, severity, text, owner, due, opened_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id

-- name: close_finding
INSERT INTO compliance_closings (finding, reason, closed_by)
SELECT id, $4, $5 FROM compliance_findings WHERE id = $1 AND model = $2 AND version = $3
ON CONFLICT DO NOTHING
RETURNING finding

-- name: add_score
INSERT INTO compliance_scores (model, version, status, overall, score, actor)
VALUES ($1, $2, $3, $4, $5, $6)

-- name: monitoring
SELECT step, actor, reason, at FROM monitoring_events WHERE model = $1 AND version = $2 ORDER BY id

-- name: add_monitoring
INSERT INTO monitoring_events (model, version, step, actor, reason) VALUES ($1, $2, $3, $4, $5)

-- name: knows_digest
-- Whether a digest names something this system holds about the version.
SELECT EXISTS (
    SELECT FROM model_packages WHERE digest = $3 AND model = $1 AND version = $2
    UNION ALL SELECT FROM model_reports WHERE digest = $3 AND model = $1 AND version = $2
    UNION ALL SELECT FROM snapshots WHERE digest = $3
)

-- name: reports
SELECT name, digest FROM model_reports WHERE model = $1 AND version = $2 ORDER BY at

-- name: snapshot_facts
SELECT rows, jsonb_array_length(findings) AS findings, profile FROM snapshots WHERE digest = $1
LIMIT 1

-- name: trial_count
SELECT count(*) FROM trials t JOIN runs r ON r.id = t.run WHERE r.model = $1 AND r.version = $2

-- name: gates
SELECT gates FROM model_gates WHERE model = $1 ORDER BY id DESC LIMIT 1

-- name: history
SELECT state, actor, at FROM model_events WHERE model = $1 AND version = $2 ORDER BY id
