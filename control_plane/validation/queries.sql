-- name: lock_version
SELECT one_at_a_time('validation', $1)

-- name: add_validation
INSERT INTO validations
    (id, job, model, version, number, package, dataset, snapshot, options, created_by)
SELECT $1, $2, $3, $4, coalesce(max(number), 0) + 1, $5, $6, $7, $8, $9
FROM validations WHERE model = $3 AND version = $4
RETURNING number

-- name: one
SELECT v.id, v.job, v.model, v.version, v.number, v.package, v.dataset, v.snapshot, j.state,
    j.progress, j.step, v.summary, v.gates, v.breached, j.error, v.created_by, v.created_at,
    v.finished_at
FROM validations v JOIN jobs j ON j.id = v.job
WHERE v.id = $1

-- name: many
-- A page, newest first; the cursor is the last row's (created_at, id).
SELECT v.id, v.job, v.model, v.version, v.number, v.package, v.dataset, v.snapshot, j.state,
    j.progress, j.step, v.summary, v.gates, v.breached, j.error, v.created_by, v.created_at,
    v.finished_at
FROM validations v JOIN jobs j ON j.id = v.job
WHERE ($1::text IS NULL OR v.model = $1) AND ($2::int IS NULL OR v.version = $2)
    AND ($3::timestamptz IS NULL OR (v.created_at, v.id) < ($3, $4::uuid))
ORDER BY v.created_at DESC, v.id DESC
LIMIT $5

-- name: finish
UPDATE validations SET summary = $2, gates = $3, breached = $4, finished_at = clock_timestamp()
WHERE id = $1 AND finished_at IS NULL
RETURNING number

-- name: add_report
INSERT INTO validation_reports (validation, name, media_type, digest, content)
VALUES ($1, $2, $3, $4, $5)

-- name: reports
SELECT name, media_type, digest, length(content) AS bytes FROM validation_reports
WHERE validation = $1 ORDER BY name

-- name: report
SELECT media_type, content FROM validation_reports WHERE validation = $1 AND name = $2

-- name: baseline
-- The version of a model that serves now, other than the one at hand.
SELECT package_digest FROM model_versions
WHERE model = $1 AND version <> $2 AND state = 'deployed' AND package_digest IS NOT NULL
ORDER BY version DESC LIMIT 1

-- name: gates
SELECT gates FROM model_gates WHERE model = $1 ORDER BY id DESC LIMIT 1

-- name: set_gates
INSERT INTO model_gates (model, gates, actor) VALUES ($1, $2, $3)
