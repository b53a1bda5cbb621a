-- name: add_dataset
INSERT INTO datasets
    (name, task, target, positive, favourable, protected, sensitive, ignored, missing, source, licence,
     created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: one_dataset
SELECT d.name, d.task, d.target, d.positive, d.favourable, d.protected, d.sensitive, d.ignored AS ignore,
    d.missing, d.source, d.licence, d.created_by, d.created_at,
    (SELECT count(*) FROM snapshots s WHERE s.dataset = d.name) AS snapshots
FROM datasets d WHERE d.name = $1

-- name: many_datasets
-- A page by name.
SELECT d.name, d.task, d.target, d.positive, d.favourable, d.protected, d.sensitive, d.ignored AS ignore,
    d.missing, d.source, d.licence, d.created_by, d.created_at,
    (SELECT count(*) FROM snapshots s WHERE s.dataset = d.name) AS snapshots
FROM datasets d WHERE d.name > $1 ORDER BY d.name LIMIT $2

-- name: lock_dataset
-- One registration of a snapshot at a time per dataset.
SELECT one_at_a_time('dataset', $1)

-- name: snapshot_by_digest
SELECT dataset, number, digest, rows, features, output, profile, findings, origin, created_by,
    created_at
FROM snapshots WHERE dataset = $1 AND digest = $2

-- name: snapshot_by_number
SELECT dataset, number, digest, rows, features, output, profile, findings, origin, created_by,
    created_at
FROM snapshots WHERE dataset = $1 AND number = $2

-- name: newest_snapshot
SELECT dataset, number, digest, rows, features, output, profile, findings, origin, created_by,
    created_at
FROM snapshots WHERE dataset = $1 ORDER BY number DESC LIMIT 1

-- name: many_snapshots
-- Newest first, from below a number.
SELECT number, digest, rows, origin, created_by, created_at,
    jsonb_array_length(findings) AS findings
FROM snapshots WHERE dataset = $1 AND number < $2 ORDER BY number DESC LIMIT $3

-- name: add_snapshot
INSERT INTO snapshots
    (dataset, number, digest, rows, features, output, profile, findings, origin, created_by)
SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9
FROM snapshots WHERE dataset = $1
RETURNING number

-- name: add_connection
INSERT INTO data_connections (name, kind, options, secret, key_id, created_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO NOTHING
RETURNING name

-- name: connections
-- Never the secret.
SELECT name, kind, options, key_id, created_by, created_at FROM data_connections ORDER BY name

-- name: connection
SELECT name, kind, options, secret, key_id FROM data_connections WHERE name = $1

-- name: drop_connection
DELETE FROM data_connections WHERE name = $1 RETURNING name
