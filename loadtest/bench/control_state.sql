-- A control plane after years of use: people, models, versions, endpoints, and audit rows.
-- Written past the triggers (a generator needs no approvals), in the tables that they guard.

-- name: registry
INSERT INTO models (name, created_by)
SELECT 'model-' || lpad(m::text, 4, '0'), 'bench@bank.example' FROM generate_series(1, 1000) m;

-- name: versions
INSERT INTO version_numbers (model, version, created_by)
SELECT 'model-' || lpad(m::text, 4, '0'), v, 'bench@bank.example'
FROM generate_series(1, 1000) m, generate_series(1, 10) v;

-- name: packages
INSERT INTO model_packages (model, version, digest, manifest)
SELECT model, version, 'sha256:' || encode(sha256(manifest), 'hex'), manifest
FROM version_numbers, LATERAL (
  SELECT convert_to(json_build_object('name', model, 'version', version, 'metrics',
    json_build_object('auc', 0.5 + version / 25.0), 'parity', json_build_object('passed', true),
    'lineage', json_build_object('seed', version), 'padding', repeat('x', 2000))::text, 'UTF8')
    AS manifest
) made;

-- name: events
INSERT INTO model_events (model, version, state, actor)
SELECT model, version, state, 'bench@bank.example'
FROM version_numbers, unnest(ARRAY['draft', 'validated', 'submitted', 'approved']) state
ORDER BY model, version;

-- name: contributors
INSERT INTO model_contributors (model, version, person, how)
SELECT model, version, 'bench@bank.example', 'trained' FROM version_numbers;

-- name: endpoints
INSERT INTO endpoints (name, owner, created_by)
SELECT 'endpoint-' || lpad(e::text, 3, '0'), 'bench@bank.example', 'bench@bank.example'
FROM generate_series(1, 200) e;

-- name: drafts
INSERT INTO draft_edits (endpoint, revision, content, editor)
SELECT name, revision, '{"rules": {"text": "ELSE m"}}', 'bench@bank.example'
FROM endpoints, generate_series(1, 5) revision;

-- name: releases
INSERT INTO releases (endpoint, number, content, digest, draft_revision, proposed_by, editors,
                      justification)
SELECT name, number, content, 'sha256:' || encode(sha256(content), 'hex'), number,
       'bench@bank.example', '{bench@bank.example}', 'generated'
FROM endpoints, generate_series(1, 5) number, LATERAL (
  SELECT convert_to(json_build_object('endpoint', name, 'number', number,
    'padding', repeat('x', 3000))::text, 'UTF8') AS content) made;

-- name: bundles
INSERT INTO release_bundles (release, bundle) SELECT id, content FROM releases;

-- name: release_models
INSERT INTO release_models (release, model, version, package)
SELECT r.id, p.model, p.version, p.digest
FROM releases r JOIN model_packages p
  ON p.model = 'model-' || lpad((1 + hashtext(r.endpoint) & 511)::text, 4, '0')
 AND p.version = r.number;

-- name: release_events
INSERT INTO release_events (release, state, actor)
SELECT id, state, 'bench@bank.example'
FROM releases, unnest(ARRAY['proposed', 'approved', 'activated']) state ORDER BY number;

-- name: activations
INSERT INTO activations (endpoint, kind, release, valid_from, actor)
SELECT endpoint, 'activate', id, clock_timestamp(), 'bench@bank.example'
FROM releases ORDER BY number;

-- name: keys
INSERT INTO routing_keys (name, endpoint, key_hash, hint, created_by)
SELECT 'key ' || k, 'endpoint-' || lpad((1 + k % 200)::text, 3, '0'), sha256(k::text::bytea),
       'ilk_xxxx', 'bench@bank.example'
FROM generate_series(1, 2000) k;

-- name: log
INSERT INTO admin_log (actor, action, subject)
SELECT 'bench@bank.example', 'generated', 'endpoint-' || (n % 200) FROM generate_series(1, 50000) n;

-- name: audit
-- Rows of the last 30 days, in order of time; $1 is the first number, $2 the last.
INSERT INTO audit_records (id, received_at, decided_at, endpoint, release, rule, unknown, model,
  version, key_id, request_id, subject_ref, decision, status, durability, retention_class,
  features, defaults, outputs, latency_us, explain, rows, schema_version, writer, seq, batch, leaf)
SELECT uuidv7(at - clock_timestamp()), at, at,
  'endpoint-' || lpad((1 + n % 200)::text, 3, '0'), 5, 'rule-' || n % 7, '{}',
  'model-' || lpad((1 + n % 1000)::text, 4, '0'), 1 + (n % 10)::int, 'key', 'r' || n,
  's' || n % 100000, CASE WHEN n % 5 = 0 THEN 'decline' ELSE 'approve' END, 200, 'process',
  'default', '{"amount": 1000, "months": 12}', '{}', '{"label": "good"}', 100, 0, 1, 1,
  'bench/b/0', n, n / 1000, (n % 1000)::int
FROM generate_series($1::bigint, $2::bigint) n,
LATERAL (SELECT clock_timestamp() - interval '30 days' * (1 - n::float8 / $3::float8) AS at) t;
