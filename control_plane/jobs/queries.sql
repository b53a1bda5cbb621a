-- The queue. A running job belongs to one (worker, attempt); every write of a worker names both,
-- so a worker that lost its lease can change nothing.

-- name: enqueue
-- A new job, or the one made before with the same idempotency key.
INSERT INTO jobs (kind, payload, priority, max_attempts, idempotency_key, created_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (created_by, kind, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id

-- name: by_idempotency_key
SELECT id, payload FROM jobs WHERE created_by = $1 AND kind = $2 AND idempotency_key = $3

-- name: claim
-- The most urgent queued job, taken by exactly one worker; others skip the locked row.
WITH next AS (
    SELECT id FROM jobs
    WHERE state = 'queued' AND run_after <= clock_timestamp()
    ORDER BY priority DESC, run_after, created_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE jobs
    SET state = 'running', attempts = attempts + 1, worker = $1, step = 'starting', progress = 0,
        lease_until = clock_timestamp() + $2::float8 * interval '1 second',
        started_at = coalesce(started_at, clock_timestamp())
    FROM next WHERE jobs.id = next.id
    RETURNING jobs.id, jobs.kind, jobs.payload, jobs.attempts, jobs.max_attempts, jobs.created_by,
        jobs.cancel_requested
), noted AS (
    INSERT INTO job_attempts (job, attempt, worker) SELECT id, attempts, $1 FROM taken
)
SELECT * FROM taken

-- name: beat
-- Renew the lease and store progress; answers whether somebody asked to cancel. No row: lost.
UPDATE jobs
SET lease_until = clock_timestamp() + $4::float8 * interval '1 second',
    progress = coalesce($5, progress), step = coalesce($6, step), live = coalesce($7, live)
WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'
RETURNING cancel_requested

-- name: log
INSERT INTO job_logs (job, attempt, level, line)
SELECT $1, $2, level, line FROM unnest($3::text[], $4::text[]) AS new (level, line)

-- name: own
-- Lock the job for a write that is only valid while this attempt owns it.
SELECT 1 FROM jobs
WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'
FOR UPDATE

-- name: succeed
UPDATE jobs
SET state = 'succeeded', progress = 1, step = 'done', result = $4, lease_until = NULL,
    finished_at = clock_timestamp()
WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'
RETURNING id

-- name: fail
UPDATE jobs
SET state = 'failed', error = $4, lease_until = NULL, finished_at = clock_timestamp()
WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'
RETURNING id

-- name: requeue
-- Back into the queue after a delay; `$5` tells whether this attempt counts.
UPDATE jobs
SET state = 'queued', step = 'waiting to be retried', lease_until = NULL,
    run_after = clock_timestamp() + $4::float8 * interval '1 second',
    max_attempts = max_attempts + CASE WHEN $5::bool THEN 0 ELSE 1 END
WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'
RETURNING id

-- name: cancel_running
UPDATE jobs
SET state = 'cancelled', step = 'cancelled', lease_until = NULL, finished_at = clock_timestamp()
WHERE id = $1 AND worker = $2 AND attempts = $3 AND state = 'running'
RETURNING id

-- name: end_attempt
UPDATE job_attempts SET ended_at = clock_timestamp(), outcome = $3, reason = $4
WHERE job = $1 AND attempt = $2 AND ended_at IS NULL

-- name: cancel
-- A queued job ends at once; a running one is asked to.
UPDATE jobs
SET cancel_requested = true,
    state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
    step = CASE WHEN state = 'queued' THEN 'cancelled' ELSE step END,
    finished_at = CASE WHEN state = 'queued' THEN clock_timestamp() END
WHERE id = $1 AND state IN ('queued', 'running')
RETURNING id

-- name: lost
-- Jobs whose worker went silent: one row each, locked, for the caller to requeue or end.
SELECT id, worker, attempts, max_attempts, cancel_requested FROM jobs
WHERE state = 'running' AND lease_until < clock_timestamp()
ORDER BY lease_until
LIMIT 20
FOR UPDATE SKIP LOCKED

-- name: retry
-- A new job with the work of an ended one.
INSERT INTO jobs (kind, payload, priority, max_attempts, created_by)
SELECT kind, payload, priority, greatest(1, max_attempts), $2 FROM jobs
WHERE id = $1 AND state IN ('failed', 'cancelled')
RETURNING id

-- name: one
SELECT id, kind, payload, state, attempts, max_attempts, worker, cancel_requested, progress, step,
    live, result, error, created_by, created_at, started_at, finished_at
FROM jobs WHERE id = $1

-- name: many
-- A page, newest first; the cursor is the last row's (created_at, id).
SELECT id, kind, payload, state, attempts, max_attempts, worker, cancel_requested, progress, step,
    live, result, error, created_by, created_at, started_at, finished_at
FROM jobs
WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR kind = $2)
    AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4::uuid))
ORDER BY created_at DESC, id DESC
LIMIT $5

-- name: attempts
SELECT attempt, worker, started_at, ended_at, outcome, reason
FROM job_attempts WHERE job = $1 ORDER BY attempt

-- name: log_lines
-- Lines after a sequence number, so that a reader can follow a running job.
SELECT seq, attempt, at, level, line FROM job_logs
WHERE job = $1 AND seq > $2 ORDER BY seq LIMIT $3
