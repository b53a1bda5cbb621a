-- name: add_endpoint
INSERT INTO endpoints (name, owner, slo, created_by) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING name;

-- name: find_endpoint
SELECT name, owner, slo, created_by, created_at FROM endpoints WHERE name = $1;

-- name: change_endpoint
UPDATE endpoints SET owner = $2, slo = $3 WHERE name = $1;

-- name: list_endpoints
SELECT e.name, e.owner, e.slo, e.created_by, e.created_at, f.number AS serving,
       coalesce(f.suspended, false) AS suspended,
       (SELECT max(revision) FROM draft_edits d WHERE d.endpoint = e.name) AS draft_revision
FROM endpoints e
LEFT JOIN LATERAL (
  SELECT number, suspended FROM feed_releases WHERE endpoint = e.name
) f ON true
WHERE e.name > $1 ORDER BY e.name LIMIT $2;

-- name: person_exists
SELECT EXISTS (SELECT FROM users WHERE email = $1 AND kind = 'person' AND disabled_at IS NULL);

-- name: lock_endpoint
SELECT one_at_a_time('endpoint', $1);

-- name: latest_draft
SELECT endpoint, revision, content, editor, at,
       draft_editors(endpoint, revision) AS editors
FROM draft_edits WHERE endpoint = $1 ORDER BY revision DESC LIMIT 1;

-- name: add_draft
-- Only the revision after the newest one; NULL when somebody was faster.
INSERT INTO draft_edits (endpoint, revision, content, editor)
SELECT $1, $2::bigint + 1, $3, $4
WHERE $2 = coalesce((SELECT max(revision) FROM draft_edits WHERE endpoint = $1), 0)
RETURNING revision;

-- name: list_drafts
SELECT revision, editor, at FROM draft_edits
WHERE endpoint = $1 AND revision < $2 ORDER BY revision DESC LIMIT $3;

-- name: packages
-- The named versions with their packages, for assembling a release.
SELECT p.model, p.version, p.digest, p.manifest, model_state(p.model, p.version) AS state
FROM unnest($1::text[], $2::int[]) AS wanted (model, version)
JOIN model_packages p USING (model, version);

-- name: next_number
SELECT coalesce(max(number), 0) + 1 FROM releases WHERE endpoint = $1;

-- name: add_release
INSERT INTO releases (endpoint, number, content, digest, draft_revision, proposed_by, editors,
                      justification, effective_from)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING id;

-- name: add_release_model
INSERT INTO release_models (release, model, version, package) VALUES ($1, $2, $3, $4);

-- name: add_release_event
INSERT INTO release_events (release, state, actor, reason) VALUES ($1, $2, $3, $4);

-- name: find_release
SELECT r.id, r.endpoint, r.number, r.digest, r.content, r.proposed_by, r.editors,
       r.justification, r.effective_from, r.at, r.draft_revision, release_state(r.id) AS state
FROM releases r WHERE r.id = $1;

-- name: find_release_number
SELECT r.id, r.endpoint, r.number, r.digest, r.content, r.proposed_by, r.editors,
       r.justification, r.effective_from, r.at, r.draft_revision, release_state(r.id) AS state
FROM releases r WHERE r.endpoint = $1 AND r.number = $2;

-- name: list_releases
-- Newest first; of one endpoint when it is named.
SELECT r.id, r.endpoint, r.number, release_state(r.id) AS state, r.digest, r.proposed_by,
       r.editors, r.justification, r.effective_from, r.at
FROM releases r
WHERE ($1 = '' OR r.endpoint = $1) AND (r.at, r.id) < ($2, $3)
ORDER BY r.at DESC, r.id DESC LIMIT $4;

-- name: list_release_events
SELECT state, actor, reason, at FROM release_events WHERE release = $1 ORDER BY id;

-- name: list_release_approvals
SELECT approver, key_id, issued_at, expires_at, at FROM release_approvals
WHERE release = $1 ORDER BY at;

-- name: edited
-- Whether the person behind an account proposed or edited, himself or through a service account.
SELECT EXISTS (
  SELECT FROM releases r, unnest(r.editors || r.proposed_by
                                 || draft_editors(r.endpoint, r.draft_revision)) AS editor
  WHERE r.id = $1 AND (editor = $2 OR person_behind(editor) = person_behind($2))
);

-- name: add_release_approval
INSERT INTO release_approvals (release, approver, key_id, envelope, content, issued_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: release_envelopes
SELECT approver, envelope FROM release_approvals WHERE release = $1 ORDER BY at;

-- name: release_models
SELECT m.model, m.version, m.package, p.manifest, model_state(m.model, m.version) AS state
FROM release_models m JOIN model_packages p USING (model, version)
WHERE m.release = $1 ORDER BY m.model;

-- name: model_envelopes
SELECT a.model, a.version, a.approver, a.role, a.envelope, t.tier
FROM release_models m
JOIN model_approvals a USING (model, version)
JOIN models t ON t.name = m.model
WHERE m.release = $1 ORDER BY a.model, a.at;

-- name: add_bundle
INSERT INTO release_bundles (release, bundle) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: add_activation
INSERT INTO activations (endpoint, kind, release, valid_from, actor, reason)
VALUES ($1, $2, $3, greatest($4::timestamptz, clock_timestamp()), $5, $6)
RETURNING id, valid_from;

-- name: serving
SELECT f.endpoint, f.number, f.digest, f.suspended, f.activation FROM feed_releases f
WHERE f.endpoint = $1;

-- name: serving_content
SELECT r.number, r.content FROM feed_releases f
JOIN releases r ON r.endpoint = f.endpoint AND r.number = f.number
WHERE f.endpoint = $1;

-- name: scheduled
SELECT r.number, a.valid_from FROM activations a JOIN releases r ON r.id = a.release
WHERE a.endpoint = $1 AND a.valid_from > clock_timestamp()
  AND NOT overtaken(a, clock_timestamp()) ORDER BY a.valid_from;

-- name: switched_off
SELECT kind = 'suspend' FROM activations
WHERE endpoint = $1 AND kind IN ('suspend', 'resume') ORDER BY id DESC LIMIT 1;

-- name: serving_versions
-- Every version that some endpoint serves now.
SELECT DISTINCT m.model, m.version FROM feed_releases f
JOIN releases r ON r.endpoint = f.endpoint AND r.number = f.number
JOIN release_models m ON m.release = r.id;

-- name: deployed_versions
-- Versions that once were in a release of this endpoint and still count as deployed.
SELECT DISTINCT m.model, m.version FROM releases r JOIN release_models m ON m.release = r.id
WHERE r.endpoint = $1 AND model_state(m.model, m.version) = 'deployed';

-- name: list_activations
SELECT a.id, a.kind, r.number, a.valid_from, a.recorded_at, a.actor, a.reason
FROM activations a LEFT JOIN releases r ON r.id = a.release
WHERE a.endpoint = $1 AND a.id < $2 ORDER BY a.id DESC LIMIT $3;

-- name: served_at
-- The release in service at $2 as it was known at $3.
SELECT a.id, a.kind, r.number, a.valid_from, a.recorded_at, a.actor, a.reason, r.id AS release,
       r.digest, r.proposed_by, r.editors, r.justification
FROM activations a JOIN releases r ON r.id = a.release
WHERE a.endpoint = $1 AND a.kind IN ('activate', 'rollback')
  AND a.valid_from <= $2 AND a.recorded_at <= $3 AND NOT overtaken(a, $3)
ORDER BY a.valid_from DESC, a.id DESC LIMIT 1;

-- name: suspended_at
SELECT kind = 'suspend' FROM activations
WHERE endpoint = $1 AND kind IN ('suspend', 'resume') AND valid_from <= $2 AND recorded_at <= $3
ORDER BY id DESC LIMIT 1;

-- name: served_models
SELECT m.model AS name, m.version, m.package, p.run_id AS run,
       ARRAY(SELECT a.approver FROM model_approvals a
             WHERE a.model = m.model AND a.version = m.version ORDER BY a.at) AS approved_by,
       ARRAY(SELECT DISTINCT c.person FROM model_contributors c
             WHERE c.model = m.model AND c.version = m.version ORDER BY 1) AS contributors
FROM release_models m JOIN model_packages p USING (model, version)
WHERE m.release = $1 ORDER BY m.model;

-- name: terminated_at
SELECT EXISTS (
  SELECT FROM release_models m JOIN model_events t USING (model, version)
  WHERE m.release = $1 AND t.state = 'terminated' AND t.at <= $2
);

-- name: read_endpoint
SELECT e.name, e.owner, e.slo, e.created_by, e.created_at, f.number AS serving,
       coalesce(f.suspended, false) AS suspended,
       (SELECT max(revision) FROM draft_edits d WHERE d.endpoint = e.name) AS draft_revision
FROM endpoints e
LEFT JOIN LATERAL (
  SELECT number, suspended FROM feed_releases WHERE endpoint = e.name
) f ON true
WHERE e.name = $1;

-- name: recent_requests
-- Newest first by the time in the id, so that the index on id answers; never the whole table.
SELECT id, received_at, features, context FROM (
  SELECT id, received_at, features, context, endpoint, status, part FROM audit_records
  WHERE received_at > clock_timestamp() - interval '7 days'
  ORDER BY id DESC LIMIT 50000
) newest
WHERE endpoint = $1 AND status = 200 AND part IS NULL LIMIT $2;

-- name: measured_costs
-- Per package the figure that counts: of the nodes that hold it now, else of its newest
-- validation, else of the job that built it.
SELECT DISTINCT ON (package) package, us, by FROM (
  SELECT package, min(us) AS us, 0 AS rank, max(at) AS at,
         format('node %s, which holds it,', node) AS by
  FROM (
    SELECT w.node, w.seen_at AS at, held->>'package' AS package, (held->>'cost_us')::float8 AS us
    FROM node_workers w, jsonb_path_query(w.loaded, '$[*].models[*]') AS held
    WHERE w.seen_at > clock_timestamp() - interval '10 minutes'
      AND held->>'package' = ANY ($1::text[]) AND jsonb_typeof(held->'cost_us') = 'number'
  ) workers GROUP BY package, node
  UNION ALL
  SELECT p.digest, (v.summary->>'cost_us')::float8, 1, v.finished_at,
         format('validation %s', v.number)
  FROM model_packages p
  JOIN validations v ON (v.model, v.version, v.package) = (p.model, p.version, p.digest)
  WHERE p.digest = ANY ($1::text[]) AND jsonb_typeof(v.summary->'cost_us') = 'number'
  UNION ALL
  SELECT p.digest, (convert_from(r.content, 'UTF8')::jsonb->>'cost_us')::float8, 2, r.at,
         'the job that built it'
  FROM model_packages p JOIN model_reports r USING (model, version)
  WHERE p.digest = ANY ($1::text[]) AND r.name = 'cost'
) known
ORDER BY package, rank, CASE rank WHEN 0 THEN us END DESC, at DESC;

-- name: validated_on
-- The snapshots on which these versions were validated, the newest validation first.
SELECT v.model, v.number, v.snapshot
FROM unnest($1::text[], $2::int[]) AS wanted (model, version)
JOIN validations v USING (model, version)
WHERE v.finished_at IS NOT NULL
ORDER BY v.finished_at DESC;
