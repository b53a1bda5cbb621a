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
