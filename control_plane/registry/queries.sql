-- name: add_model
INSERT INTO models (name, created_by) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;

-- name: lock_model
-- One reservation of a version number at a time.
SELECT one_at_a_time('model', $1);

-- name: add_version
INSERT INTO version_numbers (model, version, created_by)
SELECT $1, coalesce(max(version), 0) + 1, $2 FROM version_numbers WHERE model = $1
RETURNING version;

-- name: add_contributor
INSERT INTO model_contributors (model, version, person, how) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: add_event
INSERT INTO model_events (model, version, state, actor, reason, detail)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: add_package
INSERT INTO model_packages (model, version, digest, manifest, run_id)
VALUES ($1, $2, $3, $4, $5);

-- name: add_report
INSERT INTO model_reports (model, version, name, digest, media_type, content)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: find_version
SELECT v.model, v.version, v.package_digest, v.run_id, v.created_by, v.created_at, v.state,
       v.state_at, v.contributors, m.tier, p.manifest
FROM model_versions v
JOIN models m ON m.name = v.model
LEFT JOIN model_packages p ON p.model = v.model AND p.version = v.version
WHERE v.model = $1 AND v.version = $2;

-- name: list_models
-- With the newest version and its state; by name.
SELECT m.name, m.tier, m.created_by, m.created_at, v.version, v.state
FROM models m
LEFT JOIN LATERAL (
  SELECT n.version, model_state(n.model, n.version) AS state FROM version_numbers n
  WHERE n.model = m.name ORDER BY n.version DESC LIMIT 1
) v ON true
WHERE m.name > $1 ORDER BY m.name LIMIT $2;

-- name: find_model
SELECT name, tier, created_by, created_at FROM models WHERE name = $1;

-- name: set_tier
UPDATE models SET tier = $2 WHERE name = $1 RETURNING name;

-- name: list_versions
SELECT version, state, state_at, package_digest, run_id, created_by, created_at, contributors
FROM model_versions WHERE model = $1 AND version < $2 ORDER BY version DESC LIMIT $3;

-- name: list_events
SELECT state, actor, reason, detail, at FROM model_events
WHERE model = $1 AND version = $2 ORDER BY id;

-- name: list_reports
SELECT r.name, r.digest, r.media_type, length(r.content) AS bytes, r.at,
       ARRAY(SELECT o.person FROM report_openings o WHERE o.model = r.model
             AND o.version = r.version AND o.digest = r.digest ORDER BY o.at) AS opened_by
FROM model_reports r WHERE r.model = $1 AND r.version = $2 ORDER BY r.name;

-- name: find_report
SELECT name, digest, media_type, content FROM model_reports
WHERE model = $1 AND version = $2 AND name = $3;

-- name: note_opening
INSERT INTO report_openings (model, version, digest, person) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: list_approvals
SELECT approver, role, key_id, reports, policy, issued_at, expires_at, at FROM model_approvals
WHERE model = $1 AND version = $2 ORDER BY at;

-- name: list_uses
-- Every release that named this version, newest first.
SELECT r.endpoint, r.number, release_state(r.id) AS state, r.at
FROM release_models m JOIN releases r ON r.id = m.release
WHERE m.model = $1 AND m.version = $2 ORDER BY r.at DESC LIMIT 100;

-- name: add_alias
INSERT INTO model_aliases (model, alias, version, actor) VALUES ($1, $2, $3, $4)
RETURNING id, valid_from;

-- name: list_aliases
-- The alias history of a model as it was known at one time, newest first.
SELECT id, alias, version, actor, valid_from, recorded_at FROM model_aliases
WHERE model = $1 AND recorded_at <= $2 AND id < $3 ORDER BY id DESC LIMIT $4;

-- name: resolve_alias
SELECT version FROM model_aliases WHERE model = $1 AND alias = $2 AND valid_from <= $3
ORDER BY valid_from DESC, id DESC LIMIT 1;

-- name: current_aliases
SELECT DISTINCT ON (alias) alias, version FROM model_aliases
WHERE model = $1 AND valid_from <= clock_timestamp()
ORDER BY alias, valid_from DESC, id DESC;
