-- name: add
INSERT INTO job_schedules (name, kind, target, request, every_s, next_at, created_by)
VALUES ($1, $2, $3, $4::text::jsonb, $5, $6, $7)
ON CONFLICT (name) DO NOTHING
RETURNING name;

-- name: many
SELECT name, kind, target, request::text AS request, every_s, next_at, paused, created_by,
       created_at, last_at, last_job, last_error
FROM job_schedules WHERE name > $1 ORDER BY name LIMIT $2;

-- name: one
SELECT name, kind, target, request::text AS request, every_s, next_at, paused, created_by,
       created_at, last_at, last_job, last_error
FROM job_schedules WHERE name = $1;

-- name: pause
UPDATE job_schedules SET paused = $2,
  next_at = CASE WHEN $2 OR next_at > clock_timestamp() THEN next_at
            ELSE next_at + ceil(extract(epoch FROM clock_timestamp() - next_at) / every_s)
                 * every_s * interval '1 second' END
WHERE name = $1 RETURNING name;

-- name: drop
DELETE FROM job_schedules WHERE name = $1 RETURNING name;

-- name: due
-- What is due, each taken by one control plane only.
SELECT name, kind, target, request::text AS request, every_s, next_at, created_by
FROM job_schedules WHERE NOT paused AND next_at <= $1
ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: ran
-- Runs that were missed meanwhile are one run.
UPDATE job_schedules SET last_at = $2, last_job = $3, last_error = $4,
  next_at = next_at + (floor(extract(epoch FROM $2 - next_at) / every_s) + 1)
            * every_s * interval '1 second'
WHERE name = $1;
