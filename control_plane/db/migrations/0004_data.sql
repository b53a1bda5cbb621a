-- Datasets, snapshots, jobs, runs and trials. Facts are appended; only the state of a job and of
-- its run moves, and every attempt of a job leaves a row that says how it ended.

-- Where data comes from: the secret of a connection is sealed with the master key before it
-- reaches the database (AES-256-GCM, nonce first, the name as associated data).
CREATE TABLE data_connections (
    name        text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    kind        text NOT NULL CHECK (kind IN ('postgresql')),
    options     jsonb NOT NULL,
    secret      bytea NOT NULL,
    key_id      text NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE datasets (
    name        text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    task        text NOT NULL CHECK (task IN ('classification', 'regression', 'clustering')),
    target      text CHECK ((task = 'clustering') = (target IS NULL)),
    positive    text,
    favourable  text,
    protected   text[] NOT NULL DEFAULT '{}',
    sensitive   text[] NOT NULL DEFAULT '{}',
    ignored     text[] NOT NULL DEFAULT '{}',
    missing     text[] NOT NULL DEFAULT '{}',
    source      text NOT NULL CHECK (source <> ''),
    licence     text NOT NULL CHECK (licence <> ''),
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One immutable ingest. The same content under the same declaration has the same digest and is
-- one row; `number` counts the different contents a dataset has had.
CREATE TABLE snapshots (
    dataset     text NOT NULL REFERENCES datasets,
    number      integer NOT NULL CHECK (number > 0),
    digest      text NOT NULL CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    rows        bigint NOT NULL CHECK (rows > 0),
    features    jsonb NOT NULL,
    output      jsonb NOT NULL,
    profile     jsonb NOT NULL,
    findings    jsonb NOT NULL,
    origin      jsonb NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dataset, number),
    UNIQUE (dataset, digest)
);

CREATE TABLE jobs (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind             text NOT NULL,
    payload          jsonb NOT NULL,
    priority         integer NOT NULL DEFAULT 0,
    state            text NOT NULL DEFAULT 'queued'
                     CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    attempts         integer NOT NULL DEFAULT 0,
    max_attempts     integer NOT NULL DEFAULT 3 CHECK (max_attempts > 0),
    run_after        timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker           text,
    lease_until      timestamptz,
    cancel_requested boolean NOT NULL DEFAULT false,
    progress         double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    step             text NOT NULL DEFAULT '',
    live             jsonb,
    result           jsonb,
    error            jsonb,
    idempotency_key  text,
    created_by       text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (state <> 'failed' OR error IS NOT NULL)
);
CREATE INDEX jobs_queue ON jobs (priority DESC, run_after, created_at) WHERE state = 'queued';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_recent ON jobs (created_at DESC, id DESC);
CREATE UNIQUE INDEX jobs_once ON jobs (created_by, kind, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- How each try of a job ended; `reason` says why a retry happened.
CREATE TABLE job_attempts (
    job         uuid NOT NULL REFERENCES jobs,
    attempt     integer NOT NULL,
    worker      text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    outcome     text CHECK (outcome IN
                    ('succeeded', 'failed', 'retried', 'released', 'cancelled')),
    reason      text,
    PRIMARY KEY (job, attempt)
);

CREATE TABLE job_logs (
    job      uuid NOT NULL REFERENCES jobs,
    seq      bigint GENERATED ALWAYS AS IDENTITY,
    attempt  integer NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    level    text NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    line     text NOT NULL,
    PRIMARY KEY (job, seq)
);

-- The doorbell: a waiting worker wakes at once; polling finds what a lost bell announced.
CREATE FUNCTION jobs_ring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('interlock_jobs', NEW.id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER jobs_ring_queued AFTER INSERT OR UPDATE OF state, cancel_requested ON jobs
    FOR EACH ROW WHEN (NEW.state = 'queued' OR NEW.cancel_requested)
    EXECUTE FUNCTION jobs_ring();

-- A finished job is history.
CREATE FUNCTION jobs_keep_ends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % has ended as % and cannot change', OLD.id, OLD.state
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER jobs_keep_ends BEFORE UPDATE OR DELETE ON jobs
    FOR EACH ROW WHEN (OLD.state IN ('succeeded', 'failed', 'cancelled'))
    EXECUTE FUNCTION jobs_keep_ends();

-- One training of one model from one snapshot; its progress and end are those of its job.
CREATE TABLE runs (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job            uuid NOT NULL UNIQUE REFERENCES jobs,
    dataset        text NOT NULL,
    snapshot       text NOT NULL,
    model          text NOT NULL,
    version        integer,
    recipe         jsonb,
    test_fraction  double precision NOT NULL CHECK (test_fraction > 0 AND test_fraction < 1),
    search         jsonb,
    metrics        jsonb,
    parity         jsonb,
    package        text,
    lineage        jsonb,
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (dataset, snapshot) REFERENCES snapshots (dataset, digest)
);
CREATE INDEX runs_recent ON runs (created_at DESC, id DESC);
CREATE INDEX runs_model ON runs (model, version);

-- Every trial of a search, the lost ones included.
CREATE TABLE trials (
    run          uuid NOT NULL REFERENCES runs,
    number       integer NOT NULL,
    recipe       jsonb NOT NULL,
    -- What the sampler chose and from which ranges: a restarted search goes on from these.
    params       jsonb NOT NULL,
    ranges       jsonb NOT NULL,
    state        text NOT NULL CHECK (state IN ('complete', 'pruned', 'failed')),
    score        double precision,
    metrics      jsonb,
    duration_ms  double precision NOT NULL,
    libraries    jsonb NOT NULL,
    snapshot     text NOT NULL,
    seed         bigint NOT NULL,
    error        text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, number)
);

GRANT SELECT, INSERT, UPDATE ON jobs TO interlock_control, interlock_worker;
GRANT SELECT, INSERT ON datasets, snapshots TO interlock_control, interlock_worker;
GRANT SELECT, INSERT, UPDATE ON job_attempts, runs TO interlock_control, interlock_worker;
GRANT SELECT, INSERT ON job_logs, trials TO interlock_control, interlock_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON data_connections TO interlock_control;
GRANT SELECT ON data_connections TO interlock_worker;
GRANT SELECT ON datasets, snapshots, runs, trials, jobs TO interlock_auditor;

-- A version on a snapshot: four reports, and how the configured gates came out.
CREATE TABLE validations (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job          uuid NOT NULL UNIQUE REFERENCES jobs,
    model        text NOT NULL,
    version      integer NOT NULL,
    number       integer NOT NULL CHECK (number > 0),
    package      text NOT NULL,
    dataset      text NOT NULL,
    snapshot     text NOT NULL,
    options      jsonb NOT NULL,
    summary      jsonb,
    gates        jsonb,
    breached     boolean,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    UNIQUE (model, version, number),
    FOREIGN KEY (dataset, snapshot) REFERENCES snapshots (dataset, digest),
    CHECK ((finished_at IS NULL) = (breached IS NULL))
);

CREATE TABLE validation_reports (
    validation  uuid NOT NULL REFERENCES validations,
    name        text NOT NULL,
    media_type  text NOT NULL,
    digest      text NOT NULL,
    content     bytea NOT NULL,
    PRIMARY KEY (validation, name),
    CHECK (digest = 'sha256:' || encode(sha256(content), 'hex'))
);

-- What a model's versions must reach before anybody may approve them; the newest row counts.
CREATE TABLE model_gates (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model  text NOT NULL REFERENCES models (name),
    gates  jsonb NOT NULL,
    actor  text NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX model_gates_newest ON model_gates (model, id DESC);

CREATE FUNCTION check_gates() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  wanted model_gates;
  newest validations;
BEGIN
  SELECT * INTO wanted FROM model_gates WHERE model = NEW.model ORDER BY id DESC LIMIT 1;
  IF NOT FOUND OR wanted.gates = '{}' THEN
    RETURN NEW;
  END IF;
  SELECT * INTO newest FROM validations
  WHERE model = NEW.model AND version = NEW.version AND package = NEW.package
    AND finished_at IS NOT NULL AND created_at > wanted.at
  ORDER BY number DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM refuse('IL409', 'approval.not_validated',
      format('%s version %s was not validated since its gates were set', NEW.model, NEW.version),
      'validate it: POST /api/validations');
  END IF;
  IF newest.breached THEN
    PERFORM refuse('IL409', 'approval.gate_breached',
      format('validation %s of %s version %s breached a gate', newest.number, NEW.model,
             NEW.version), 'read its reports; a gate is changed by somebody who may approve');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER model_approvals_gates BEFORE INSERT ON model_approvals
  FOR EACH ROW EXECUTE FUNCTION check_gates();

GRANT SELECT, INSERT, UPDATE ON validations TO interlock_control, interlock_worker;
GRANT SELECT, INSERT ON validation_reports TO interlock_control, interlock_worker;
GRANT SELECT, INSERT ON model_gates TO interlock_control;
GRANT SELECT ON model_gates TO interlock_worker;
GRANT SELECT ON validations, validation_reports, model_gates TO interlock_auditor;

-- Compliance setup. Answers, reviews and findings are appended; the newest answer to an item counts.
CREATE TABLE compliance_profiles (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model    text NOT NULL REFERENCES models (name),
    profile  text NOT NULL,
    actor    text NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX compliance_profiles_newest ON compliance_profiles (model, id DESC);

CREATE TABLE compliance_answers (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model           text NOT NULL,
    version         integer NOT NULL,
    item            text NOT NULL,
    value           text NOT NULL CHECK (value <> ''),
    source          text NOT NULL CHECK (source IN ('auto', 'human')),
    evidence        text NOT NULL DEFAULT '',
    not_applicable  boolean NOT NULL DEFAULT false,
    carried         boolean NOT NULL DEFAULT false,
    valid_until     timestamptz,
    author          text NOT NULL,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (model, version) REFERENCES version_numbers (model, version)
);
CREATE INDEX compliance_answers_newest ON compliance_answers (model, version, item, id DESC);

CREATE TABLE compliance_reviews (
    answer    bigint PRIMARY KEY REFERENCES compliance_answers,
    reviewer  text NOT NULL REFERENCES users (email),
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE compliance_findings (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    model      text NOT NULL,
    version    integer NOT NULL,
    section    text NOT NULL,
    severity   text NOT NULL CHECK (severity IN ('critical', 'high', 'medium', 'low')),
    text       text NOT NULL CHECK (text <> ''),
    owner      text NOT NULL,
    due        date NOT NULL,
    opened_by  text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (model, version) REFERENCES version_numbers (model, version)
);
CREATE TABLE compliance_closings (
    finding    uuid PRIMARY KEY REFERENCES compliance_findings,
    reason     text NOT NULL CHECK (reason <> ''),
    closed_by  text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE compliance_scores (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model       text NOT NULL,
    version     integer NOT NULL,
    status      text NOT NULL CHECK (status IN ('pass', 'conditional', 'fail')),
    overall     double precision NOT NULL,
    score       jsonb NOT NULL,
    actor       text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX compliance_scores_newest ON compliance_scores (model, version, id DESC);

-- Registering for monitoring is a step of its own, by two people.
CREATE TABLE monitoring_events (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model    text NOT NULL,
    version  integer NOT NULL,
    step     text NOT NULL CHECK (step IN ('proposed', 'registered')),
    actor    text NOT NULL REFERENCES users (email),
    reason   text NOT NULL CHECK (reason <> ''),
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (model, version, step),
    FOREIGN KEY (model, version) REFERENCES version_numbers (model, version)
);

CREATE FUNCTION check_review() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  what compliance_answers;
BEGIN
  SELECT * INTO what FROM compliance_answers WHERE id = NEW.answer;
  IF person_behind(what.author) = person_behind(NEW.reviewer) THEN
    PERFORM refuse('IL403', 'compliance.own_answer', 'somebody else has to review an answer');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER compliance_reviews_check BEFORE INSERT ON compliance_reviews
  FOR EACH ROW EXECUTE FUNCTION check_review();

CREATE FUNCTION check_monitoring() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  earlier monitoring_events;
BEGIN
  IF NEW.step = 'registered' THEN
    SELECT * INTO earlier FROM monitoring_events
    WHERE model = NEW.model AND version = NEW.version AND step = 'proposed';
    IF NOT FOUND THEN
      PERFORM refuse('IL409', 'monitoring.not_proposed',
        format('nobody proposed %s version %s for monitoring', NEW.model, NEW.version));
    END IF;
    IF person_behind(earlier.actor) = person_behind(NEW.actor) THEN
      PERFORM refuse('IL403', 'monitoring.own_proposal',
        'somebody else has to register what one proposed');
    END IF;
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER monitoring_events_check BEFORE INSERT ON monitoring_events
  FOR EACH ROW EXECUTE FUNCTION check_monitoring();

-- A model with a profile is approved only on a score that knows the newest answers and passes.
CREATE FUNCTION check_compliance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  newest compliance_scores;
BEGIN
  IF NOT EXISTS (SELECT FROM compliance_profiles WHERE model = NEW.model) THEN
    RETURN NEW;
  END IF;
  SELECT * INTO newest FROM compliance_scores
  WHERE model = NEW.model AND version = NEW.version ORDER BY id DESC LIMIT 1;
  IF NOT FOUND OR newest.at < (SELECT max(at) FROM (
      SELECT max(at) AS at FROM compliance_answers
      WHERE model = NEW.model AND version = NEW.version
      UNION ALL SELECT max(at) FROM compliance_findings
      WHERE model = NEW.model AND version = NEW.version
      UNION ALL SELECT max(at) FROM compliance_profiles WHERE model = NEW.model) AS changes) THEN
    PERFORM refuse('IL409', 'approval.compliance_unscored',
      format('the compliance setup of %s version %s changed since it was scored', NEW.model,
             NEW.version), 'score it again');
  END IF;
  IF newest.status = 'fail' THEN
    PERFORM refuse('IL409', 'approval.compliance_open',
      format('%s version %s has open mandatory sections', NEW.model, NEW.version),
      'GET its compliance setup: it lists what is missing');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER model_approvals_compliance BEFORE INSERT ON model_approvals
  FOR EACH ROW EXECUTE FUNCTION check_compliance();

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY[
    'snapshots', 'trials', 'job_logs', 'validation_reports', 'model_gates', 'compliance_profiles',
    'compliance_answers', 'compliance_reviews', 'compliance_findings', 'compliance_closings',
    'compliance_scores', 'monitoring_events'
  ] LOOP
    EXECUTE format('CREATE TRIGGER keep_rows BEFORE UPDATE OR DELETE ON %I
      FOR EACH ROW EXECUTE FUNCTION keep_history()', name);
    EXECUTE format('CREATE TRIGGER keep_table BEFORE TRUNCATE ON %I
      FOR EACH STATEMENT EXECUTE FUNCTION keep_history()', name);
  END LOOP;
END
$$;

GRANT SELECT, INSERT ON compliance_profiles, compliance_answers, compliance_reviews,
  compliance_findings, compliance_closings, compliance_scores, monitoring_events
  TO interlock_control;
GRANT SELECT ON compliance_profiles, compliance_answers, compliance_reviews, compliance_findings,
  compliance_closings, compliance_scores, monitoring_events TO interlock_auditor;
