-- name: add_run
INSERT INTO runs
    (id, job, dataset, snapshot, model, version, recipe, test_fraction, search, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: one_run
SELECT r.id, r.job, r.dataset, r.snapshot, r.model, r.version, r.recipe, r.test_fraction,
    r.search, j.state, j.progress, j.step, j.live, r.metrics, r.parity, r.package, r.lineage,
    j.error, r.created_by, r.created_at, j.finished_at
FROM runs r JOIN jobs j ON j.id = r.job
WHERE r.id = $1

-- name: many_runs
-- A page, newest first; the cursor is the last row's (created_at, id).
SELECT r.id, r.job, r.dataset, r.snapshot, r.model, r.version, r.recipe, r.test_fraction,
    r.search, j.state, j.progress, j.step, j.live, r.metrics, r.parity, r.package, r.lineage,
    j.error, r.created_by, r.created_at, j.finished_at
FROM runs r JOIN jobs j ON j.id = r.job
WHERE ($1::text IS NULL OR r.model = $1) AND ($2::text IS NULL OR r.dataset = $2)
    AND ($3::timestamptz IS NULL OR (r.created_at, r.id) < ($3, $4::uuid))
ORDER BY r.created_at DESC, r.id DESC
LIMIT $5

-- name: finish_run
UPDATE runs SET recipe = $2, metrics = $3, parity = $4, package = $5, lineage = $6 WHERE id = $1

-- name: add_trial
-- A trial that an earlier try of the job wrote already stays as it is.
INSERT INTO trials
    (run, number, recipe, params, ranges, state, score, metrics, duration_ms, libraries, snapshot,
     seed, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (run, number) DO NOTHING

-- name: past_trials
-- In the order they were made, for a search that goes on.
SELECT number, recipe, params, ranges, state, score, metrics, duration_ms
FROM trials WHERE run = $1 ORDER BY number

-- name: leaderboard
-- Best first; the ones that were given up last.
SELECT number, recipe, state, score, metrics, duration_ms, libraries, snapshot, seed, error,
    created_at
FROM trials WHERE run = $1
ORDER BY (state = 'complete') DESC, score DESC NULLS LAST, number
OFFSET $2 LIMIT $3

-- name: find_owner
-- Of a service account; null for a person.
SELECT owner FROM users WHERE email = $1
