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
-- Rows of the last 30 days, in order of time; from number $1 to $2 of $3, one in 100,000 about $4.
INSERT INTO audit_records (id, received_at, decided_at, endpoint, release, rule, unknown, model,
  version, key_id, request_id, subject_ref, decision, status, durability, retention_class,
  features, defaults, outputs, latency_us, explain, rows, schema_version, writer, seq, batch, leaf)
SELECT uuidv7(at - clock_timestamp()), at, at,
  'endpoint-' || lpad((1 + n % 200)::text, 3, '0'), 5, 'rule-' || n % 7, '{}',
  'model-' || lpad((1 + n % 1000)::text, 4, '0'), 1 + (n % 10)::int, 'key', 'r' || n,
  CASE WHEN n % 100000 = 4711 THEN $4 ELSE 's' || n % 100000 END, CASE WHEN n % 5 = 0 THEN 'decline' ELSE 'approve' END, 200, 'process',
  'default', '{"amount": 1000, "months": 12}', '{}', '{"label": "good"}', 100, 0, 1, 1,
  'bench/b/0', n, n / 1000, (n % 1000)::int
FROM generate_series($1::bigint, $2::bigint) n,
LATERAL (SELECT clock_timestamp() - interval '30 days' * (1 - n::float8 / $3::float8) AS at) t;

-- name: reports
INSERT INTO model_reports (model, version, name, digest, media_type, content)
SELECT model, version, name, 'sha256:' || encode(sha256(content), 'hex'), 'application/json', content
FROM version_numbers, unnest(ARRAY['metrics', 'parity', 'lineage', 'cost']) name,
LATERAL (SELECT convert_to(json_build_object('report', name, 'model', model, 'version', version,
  'cost_us', 20, 'padding', repeat('x', 500))::text, 'UTF8') AS content) made;

-- name: gates
INSERT INTO model_gates (model, gates, actor)
SELECT name, '{"min_roc_auc": 0.6}', 'bench@bank.example' FROM models;

-- name: aliases
INSERT INTO model_aliases (model, alias, version, actor)
SELECT name, 'champion', v, 'bench@bank.example' FROM models, generate_series(1, 10) v;

-- name: approvals
INSERT INTO model_approvals (model, version, approver, role, key_id, package, reports, policy,
                             envelope, issued_at, expires_at)
SELECT model, version, 'bench@bank.example', 'manager', 'ed25519:generated', digest, '{}',
       'generated', convert_to(digest, 'UTF8'), at, at + interval '180 days'
FROM model_packages;

-- name: datasets
INSERT INTO datasets (name, task, target, source, licence, created_by)
SELECT 'dataset-' || lpad(d::text, 3, '0'), 'classification', 'y', 'generated', 'none',
       'bench@bank.example' FROM generate_series(1, 200) d;

-- name: snapshots
INSERT INTO snapshots (dataset, number, digest, rows, features, output, profile, findings, origin,
                       created_by)
SELECT name, n, 'sha256:' || encode(sha256((name || n)::bytea), 'hex'), 1000,
       '{"amount": {"type": "int"}}', '{"task": "classification", "classes": ["bad", "good"]}',
       '[]', '[]', '{}', 'bench@bank.example'
FROM datasets, generate_series(1, 10) n;

-- name: jobs
-- A training of each version and a validation of it; one in fifty failed.
INSERT INTO jobs (kind, payload, state, attempts, progress, error, created_by, created_at,
                  started_at, finished_at)
SELECT kind, json_build_object('model', model, 'version', version),
       CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'succeeded' END, 1, 1,
       CASE WHEN n % 50 = 0 THEN '{"code": "generated", "message": "generated"}'::jsonb END,
       'bench@bank.example', at, at, at
FROM (
  SELECT kind, model, version, row_number() OVER () AS n FROM version_numbers,
  unnest(ARRAY['train', 'validate']) kind
) made, LATERAL (SELECT clock_timestamp() - n * interval '20 minutes' AS at) t;

-- name: job_logs
INSERT INTO job_logs (job, attempt, level, line)
SELECT id, 1, 'info', 'generated line ' || n FROM jobs, generate_series(1, 5) n;

-- name: job_attempts
INSERT INTO job_attempts (job, attempt, worker, started_at, ended_at, outcome)
SELECT id, 1, 'worker/0', started_at, finished_at, state FROM jobs;

-- name: runs
INSERT INTO runs (job, dataset, snapshot, model, version, recipe, test_fraction, metrics, package,
                  created_by, created_at)
SELECT j.id, s.dataset, s.digest, p.model, p.version, '{"estimator": "logistic_regression"}', 0.25,
       '{"roc_auc": 0.7}', p.digest, j.created_by, j.created_at
FROM jobs j
JOIN model_packages p ON p.model = j.payload->>'model' AND p.version = (j.payload->>'version')::int
JOIN snapshots s ON s.dataset = 'dataset-' || lpad((1 + right(p.model, 3)::int % 200)::text, 3, '0')
 AND s.number = p.version
WHERE j.kind = 'train';

-- name: trials
INSERT INTO trials (run, number, recipe, params, ranges, state, score, duration_ms, libraries,
                    snapshot, seed)
SELECT id, n, recipe, '{}', '{}', 'complete', 0.7, 100, '{}', snapshot, 7
FROM runs, generate_series(0, 9) n;

-- name: validations
INSERT INTO validations (job, model, version, number, package, dataset, snapshot, options, summary,
                         gates, breached, created_by, created_at, finished_at)
SELECT j.id, r.model, r.version, 1, r.package, r.dataset, r.snapshot, '{}', '{"cost_us": 20}',
       '[]', false, j.created_by, j.created_at, j.finished_at
FROM jobs j JOIN runs r ON r.model = j.payload->>'model' AND r.version = (j.payload->>'version')::int
WHERE j.kind = 'validate';

-- name: validation_reports
INSERT INTO validation_reports (validation, name, media_type, digest, content)
SELECT id, name, 'application/json', 'sha256:' || encode(sha256(content), 'hex'), content
FROM validations, unnest(ARRAY['predictions', 'drift', 'fairness', 'explanations', 'page']) name,
LATERAL (SELECT convert_to(json_build_object('report', name, 'validation', id, 'padding',
  repeat('x', 500))::text, 'UTF8') AS content) made;

-- name: schedules
INSERT INTO job_schedules (name, kind, target, request, every_s, next_at, created_by)
SELECT 'schedule-' || n, 'import', 'dataset-001', '{}', 86400, clock_timestamp() + interval '1 day',
       'bench@bank.example' FROM generate_series(1, 200) n;

-- name: nodes
INSERT INTO node_workers (node, worker, pid, port, loaded, info)
SELECT 'node-' || n, w, 1, 8080, (SELECT jsonb_agg(jsonb_build_object('endpoint', e.name, 'release',
  5, 'models', '[]'::jsonb)) FROM endpoints e), '{}'
FROM generate_series(1, 10) n, generate_series(0, 1) w;

-- name: events_after
-- What came of one decision in a thousand, and one override in ten thousand.
INSERT INTO audit_events (at, kind, actor, record_id, body)
SELECT r.received_at, CASE WHEN r.seq % 10000 = 0 THEN 'override' ELSE 'outcome' END, 'key',
  r.id, CASE WHEN r.seq % 10000 = 0 THEN '{"decision": "approve"}'::json
             WHEN r.seq % 7000 = 0 THEN '{"label": "bad"}' ELSE '{"label": "good"}' END
FROM audit_records r WHERE r.seq BETWEEN $1 AND $2 AND r.seq % 1000 = 0;
