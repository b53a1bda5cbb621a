-- name: find_session
-- The user behind a session token; a session ends with its user.
SELECT u.id, u.email, u.name, u.role, u.kind, u.allowed, u.denied, NULL::text[] AS scope
FROM sessions s
JOIN users u ON u.id = s.user_id
WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND s.expires_at > now()
  AND u.disabled_at IS NULL;

-- name: find_token
-- The service account behind a token; it ends with its account and with its owner.
SELECT u.id, u.email, u.name, u.role, u.kind, u.allowed, u.denied, t.scope
FROM service_tokens t
JOIN users u ON u.id = t.user_id
LEFT JOIN users o ON o.email = u.owner
WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > now()
  AND u.disabled_at IS NULL AND o.disabled_at IS NULL;

-- name: note_attempt
-- Every attempt counts as failed until it succeeds, so that attempts in parallel cannot pass.
INSERT INTO login_attempts (email, address, ok) VALUES ($1, $2, false);

-- name: count_attempts
-- Failures of this e-mail and of this address in the window, and when the oldest of them was.
SELECT count(*) FILTER (WHERE email = $1) AS by_email,
       count(*) FILTER (WHERE address = $2) AS by_address,
       min(at) FILTER (WHERE email = $1) AS oldest
FROM login_attempts
WHERE (email = $1 OR address = $2) AND NOT ok
  AND at > clock_timestamp() - make_interval(secs => $3);

-- name: lock_attempts
SELECT one_at_a_time('login', $1);

-- name: forget_attempts
DELETE FROM login_attempts WHERE email = $1;

-- name: forget_old_attempts
DELETE FROM login_attempts WHERE at < clock_timestamp() - make_interval(secs => $1);

-- name: find_user
SELECT id, email, name, role, kind, owner, password_hash, allowed, denied, revision, created_at,
       disabled_at
FROM users WHERE email = $1;

-- name: lock_user
SELECT id, email, name, role, kind, owner, password_hash, allowed, denied, revision, created_at,
       disabled_at
FROM users WHERE email = $1 FOR UPDATE;

-- name: list_users
SELECT id, email, name, role, kind, owner, allowed, denied, created_at, disabled_at
FROM users WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3;

-- name: add_user
INSERT INTO users (email, name, role, kind, owner, password_hash, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7)
RETURNING id, email, name, role, kind, owner, allowed, denied, created_at, disabled_at;

-- name: change_user
UPDATE users SET role = $2, allowed = $3, denied = $4,
  disabled_at = CASE WHEN $5 THEN coalesce(disabled_at, clock_timestamp()) END,
  revision = revision + 1
WHERE email = $1
RETURNING id, email, name, role, kind, owner, allowed, denied, created_at, disabled_at;

-- name: set_password
UPDATE users SET password_hash = $2, revision = revision + 1 WHERE email = $1;

-- name: count_superadmins
-- Superadmins that can log in, other than one.
SELECT count(*) FROM users
WHERE role = 'superadmin' AND disabled_at IS NULL AND email <> $1;

-- name: add_session
INSERT INTO sessions (token_hash, user_id, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
RETURNING expires_at;

-- name: end_session
UPDATE sessions SET revoked_at = clock_timestamp()
WHERE token_hash = $1 AND revoked_at IS NULL RETURNING user_id;

-- name: end_sessions
UPDATE sessions SET revoked_at = clock_timestamp()
WHERE user_id = $1 AND revoked_at IS NULL;

-- name: forget_old_sessions
DELETE FROM sessions WHERE expires_at < clock_timestamp() - interval '30 days';

-- name: claim_bootstrap
INSERT INTO bootstrap (email) VALUES ($1) ON CONFLICT DO NOTHING RETURNING email;

-- name: bootstrap_done
SELECT EXISTS (SELECT FROM bootstrap);

-- name: latest_roster
SELECT version, envelope, expires_at, accepted_by, accepted_at FROM rosters
ORDER BY version DESC LIMIT 1;

-- name: add_roster
INSERT INTO rosters (version, envelope, expires_at, accepted_by) VALUES ($1, $2, $3, $4);

-- name: key_owners
SELECT key_id, person FROM roster_keys WHERE key_id = ANY ($1);

-- name: add_roster_key
INSERT INTO roster_keys (key_id, person, version) VALUES ($1, $2, $3)
ON CONFLICT (key_id) DO NOTHING;

-- name: add_token
INSERT INTO service_tokens (token_hash, user_id, name, scope, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(days => $6))
RETURNING id, expires_at;

-- name: list_tokens
SELECT id, name, scope, created_by, created_at, expires_at, revoked_at
FROM service_tokens WHERE user_id = $1 AND (created_at, id) > ($2, $3)
ORDER BY created_at, id LIMIT $4;

-- name: revoke_token
UPDATE service_tokens SET revoked_at = clock_timestamp()
WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING id;

-- name: list_log
SELECT id, at, actor, action, subject, detail FROM admin_log
WHERE id < $1 AND ($2 = '' OR actor = $2) AND ($3 = '' OR subject = $3)
  AND ($4 = '' OR starts_with(action, $4))
ORDER BY id DESC LIMIT $5;

-- name: list_log_of_action
-- The few words that begin so, one index look-up each; then the newest rows of each.
WITH RECURSIVE words AS (
  (SELECT action COLLATE "C" AS action FROM admin_log
   WHERE action COLLATE "C" >= $2 ORDER BY action COLLATE "C" LIMIT 1)
  UNION ALL
  SELECT (SELECT l.action COLLATE "C" FROM admin_log l
          WHERE l.action COLLATE "C" > w.action ORDER BY l.action COLLATE "C" LIMIT 1)
  FROM words w WHERE starts_with(w.action, $2)
)
SELECT l.id, l.at, l.actor, l.action, l.subject, l.detail
FROM words w JOIN LATERAL (
  SELECT id, at, actor, action, subject, detail FROM admin_log
  WHERE action COLLATE "C" = w.action AND id < $1 ORDER BY id DESC LIMIT $3
) l ON true
WHERE starts_with(w.action, $2)
ORDER BY l.id DESC LIMIT $3;
