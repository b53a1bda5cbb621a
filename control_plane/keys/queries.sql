-- name: add_key
INSERT INTO routing_keys (
  name, endpoint, actions, key_hash, hint, created_by, expires_at, replaces,
  rate_per_s, burst, in_flight)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING id;

-- name: find_key
SELECT id, name, endpoint, actions, hint, created_by, created_at, expires_at, revoked_at, replaces,
  rate_per_s, burst, in_flight
FROM routing_keys WHERE id = $1 FOR UPDATE;

-- name: list_keys
SELECT id, name, endpoint, actions, hint, created_by, created_at, expires_at, revoked_at, replaces,
  rate_per_s, burst, in_flight
FROM routing_keys
WHERE ($1 = '' OR endpoint = $1) AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: revoke_key
UPDATE routing_keys SET revoked_at = clock_timestamp()
WHERE id = $1 AND revoked_at IS NULL RETURNING endpoint;

-- name: shorten_key
-- Never longer than it was.
UPDATE routing_keys SET expires_at = least(
  coalesce(expires_at, 'infinity'), clock_timestamp() + make_interval(secs => $2))
WHERE id = $1;

-- name: limit_key
UPDATE routing_keys SET rate_per_s = $2, burst = $3, in_flight = $4
WHERE id = $1 AND revoked_at IS NULL RETURNING endpoint;
