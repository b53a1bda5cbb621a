-- People, models, approvals, endpoints, releases, keys and nodes.
--
-- What happened is appended and never changed; what is so now is derived from it by views. The
-- refusals that matter are triggers, so that they hold whoever writes. A trigger refuses with
-- SQLSTATE IL403 (not allowed), IL409 (not in this state), IL422 (wrong) or IL404 (unknown); its
-- DETAIL is the stable code that callers see.

CREATE FUNCTION refuse(state text, code text, message text, next_step text DEFAULT '')
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = code, HINT = next_step;
END
$$;

CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM refuse('IL409', 'history.immutable',
    format('rows of %s are history: they are appended, never changed', TG_TABLE_NAME));
  RETURN NULL;
END
$$;

-- One transaction at a time decides about one thing, such as ('model', 'credit/3').
CREATE FUNCTION one_at_a_time(kind text, name text) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(hashtextextended(kind || ':' || name, 0))
$$;

------------------------------------------------------------------------------------------ people

CREATE TABLE users (
  id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email         text NOT NULL UNIQUE
                CHECK (email = lower(email) AND email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  -- The mailbox without a +tag: two accounts of one mailbox are one person.
  mailbox       text NOT NULL UNIQUE GENERATED ALWAYS AS
                (regexp_replace(split_part(email, '@', 1), '\+.*$', '')
                 || '@' || split_part(email, '@', 2)) STORED,
  name          text NOT NULL CHECK (name <> ''),
  role          text NOT NULL
                CHECK (role IN ('superadmin', 'manager', 'data_scientist', 'compliance_manager')),
  kind          text NOT NULL DEFAULT 'person' CHECK (kind IN ('person', 'service')),
  -- Who answers for a service account; what it does counts as done by him.
  owner         text REFERENCES users (email),
  password_hash text,
  allowed       text[] NOT NULL DEFAULT '{}',
  denied        text[] NOT NULL DEFAULT '{}',
  revision      bigint NOT NULL DEFAULT 1,
  created_by    text,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  disabled_at   timestamptz,
  CHECK ((kind = 'service') = (owner IS NOT NULL)),
  CHECK ((kind = 'person') = (password_hash IS NOT NULL)),
  CHECK (kind = 'person' OR role <> 'superadmin')
);
CREATE INDEX users_page ON users (created_at, id);

CREATE FUNCTION keep_users() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM refuse('IL409', 'history.immutable', 'people are locked out, never deleted');
  END IF;
  IF (NEW.id, NEW.email, NEW.kind) IS DISTINCT FROM (OLD.id, OLD.email, OLD.kind)
     OR NEW.owner IS DISTINCT FROM OLD.owner THEN
    PERFORM refuse('IL409', 'user.identity_fixed',
      'the e-mail, kind and owner of an account never change',
      'lock this account out and create another');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER users_keep BEFORE UPDATE OR DELETE ON users
  FOR EACH ROW EXECUTE FUNCTION keep_users();

-- The person behind an account: himself, or the owner of a service account.
CREATE FUNCTION person_behind(account text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT coalesce(o.mailbox, u.mailbox)
  FROM users u LEFT JOIN users o ON o.email = u.owner
  WHERE u.email = account
$$;

-- The first superadmin is made once; this row is what makes a second time impossible.
CREATE TABLE bootstrap (
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
  email    text NOT NULL REFERENCES users (email),
  at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE sessions (
  token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
  user_id    uuid NOT NULL REFERENCES users (id),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE service_tokens (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  user_id    uuid NOT NULL REFERENCES users (id),
  name       text NOT NULL CHECK (name <> ''),
  -- Permissions at most; NULL means all of the account's.
  scope      text[],
  created_by text NOT NULL REFERENCES users (email),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX service_tokens_user ON service_tokens (user_id, created_at);

CREATE TABLE login_attempts (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  email   text NOT NULL,
  address text NOT NULL,
  ok      boolean NOT NULL
);
CREATE INDEX login_attempts_email ON login_attempts (email, at);
CREATE INDEX login_attempts_address ON login_attempts (address, at);

CREATE TABLE rosters (
  version     int PRIMARY KEY CHECK (version > 0),
  envelope    bytea NOT NULL,
  expires_at  timestamptz NOT NULL,
  accepted_by text,
  accepted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Whose a key is, for good: a key that was one person's is never another's.
CREATE TABLE roster_keys (
  key_id  text PRIMARY KEY,
  person  text NOT NULL,
  version int NOT NULL REFERENCES rosters (version)
);
CREATE FUNCTION check_roster() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM one_at_a_time('roster', '');
  IF EXISTS (SELECT FROM rosters WHERE version >= NEW.version) THEN
    PERFORM refuse('IL409', 'roster.rollback',
      format('expected a roster newer than version %s, got %s',
             (SELECT max(version) FROM rosters), NEW.version));
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER rosters_check BEFORE INSERT ON rosters
  FOR EACH ROW EXECUTE FUNCTION check_roster();

CREATE TABLE admin_log (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor   text NOT NULL,
  action  text NOT NULL,
  subject text NOT NULL DEFAULT '',
  detail  jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX admin_log_actor ON admin_log (actor, id);
CREATE INDEX admin_log_subject ON admin_log (subject, id);

-- Answers to creates that carried an Idempotency-Key.
CREATE TABLE remembered_answers (
  actor      text NOT NULL,
  key        text NOT NULL,
  body_hash  bytea NOT NULL,
  status     int,
  answer     bytea,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (actor, key)
);

---------------------------------------------------------------------------------------- registry

CREATE TABLE models (
  name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  -- A version of a high-tier model needs a manager and a compliance manager.
  tier       text NOT NULL DEFAULT 'standard' CHECK (tier IN ('low', 'standard', 'high')),
  created_by text NOT NULL REFERENCES users (email),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE version_numbers (
  model      text NOT NULL REFERENCES models (name),
  version    int NOT NULL CHECK (version > 0),
  created_by text NOT NULL REFERENCES users (email),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (model, version)
);

CREATE TABLE model_packages (
  model    text NOT NULL,
  version  int NOT NULL,
  digest   text NOT NULL CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
  -- Exactly the bytes whose SHA-256 is the digest.
  manifest bytea NOT NULL,
  run_id   uuid,
  at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (model, version),
  FOREIGN KEY (model, version) REFERENCES version_numbers,
  CHECK (digest = 'sha256:' || encode(sha256(manifest), 'hex'))
);
CREATE INDEX model_packages_digest ON model_packages (digest);

CREATE TABLE model_contributors (
  model   text NOT NULL,
  version int NOT NULL,
  person  text NOT NULL,
  how     text NOT NULL,
  at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (model, version, person, how),
  FOREIGN KEY (model, version) REFERENCES version_numbers
);

CREATE TABLE model_reports (
  model      text NOT NULL,
  version    int NOT NULL,
  name       text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  digest     text NOT NULL,
  media_type text NOT NULL,
  content    bytea NOT NULL,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (model, version, name),
  FOREIGN KEY (model, version) REFERENCES version_numbers,
  CHECK (digest = 'sha256:' || encode(sha256(content), 'hex'))
);

CREATE TABLE report_openings (
  model   text NOT NULL,
  version int NOT NULL,
  digest  text NOT NULL,
  person  text NOT NULL REFERENCES users (email),
  at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (model, version, digest, person)
);

CREATE TABLE model_events (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  model   text NOT NULL,
  version int NOT NULL,
  state   text NOT NULL CHECK (state IN ('draft', 'validated', 'submitted', 'changes_requested',
            'approved', 'rejected', 'deployed', 'superseded', 'retired', 'terminated')),
  actor   text NOT NULL,
  reason  text NOT NULL DEFAULT '',
  detail  jsonb NOT NULL DEFAULT '{}',
  at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  FOREIGN KEY (model, version) REFERENCES version_numbers
);
CREATE INDEX model_events_version ON model_events (model, version, id DESC);
CREATE INDEX model_events_terminated ON model_events (model, version) WHERE state = 'terminated';

CREATE TABLE model_moves (
  before text NOT NULL,
  after  text NOT NULL,
  PRIMARY KEY (before, after)
);
INSERT INTO model_moves (before, after) VALUES
  ('', 'draft'),
  ('draft', 'validated'), ('draft', 'retired'),
  ('validated', 'submitted'), ('validated', 'retired'),
  ('submitted', 'changes_requested'), ('submitted', 'approved'), ('submitted', 'rejected'),
  ('changes_requested', 'submitted'), ('changes_requested', 'retired'),
  ('rejected', 'retired'),
  ('approved', 'deployed'), ('approved', 'retired'), ('approved', 'terminated'),
  ('deployed', 'superseded'), ('deployed', 'retired'), ('deployed', 'terminated'),
  -- An approval that ran out is renewed by submitting again.
  ('approved', 'submitted'), ('deployed', 'submitted'), ('superseded', 'submitted'),
  ('superseded', 'deployed'), ('superseded', 'retired'), ('superseded', 'terminated');

CREATE TABLE model_approvals (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  model      text NOT NULL,
  version    int NOT NULL,
  approver   text NOT NULL REFERENCES users (email),
  role       text NOT NULL,
  key_id     text NOT NULL,
  package    text NOT NULL,
  reports    text[] NOT NULL,
  policy     text NOT NULL,
  envelope   bytea NOT NULL,
  issued_at  timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  FOREIGN KEY (model, version) REFERENCES model_packages (model, version),
  CHECK (expires_at > issued_at)
);
CREATE INDEX model_approvals_version ON model_approvals (model, version, id);
-- One statement counts once.
CREATE UNIQUE INDEX model_approvals_once ON model_approvals (sha256(envelope));

CREATE TABLE model_aliases (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  model   text NOT NULL,
  alias   text NOT NULL CHECK (alias ~ '^[a-z][a-z0-9_-]{0,62}$'),
  -- NULL: the alias was taken away.
  version int,
  actor   text NOT NULL,
  valid_from  timestamptz NOT NULL DEFAULT clock_timestamp(),
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  FOREIGN KEY (model) REFERENCES models (name),
  FOREIGN KEY (model, version) REFERENCES version_numbers
);
CREATE INDEX model_aliases_last ON model_aliases (model, alias, id DESC);

CREATE FUNCTION model_state(of_model text, of_version int) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT state FROM model_events WHERE model = of_model AND version = of_version
  ORDER BY id DESC LIMIT 1
$$;

-- Roles that approved a version since it was last submitted.
CREATE FUNCTION standing_roles(of_model text, of_version int) RETURNS SETOF text
LANGUAGE sql STABLE AS $$
  SELECT DISTINCT role FROM model_approvals
  WHERE model = of_model AND version = of_version AND at >= (
    SELECT max(at) FROM model_events
    WHERE model = of_model AND version = of_version AND state = 'submitted')
$$;

CREATE FUNCTION check_model_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  earlier text;
  given int;
BEGIN
  PERFORM one_at_a_time('model', NEW.model || '/' || NEW.version);
  earlier := coalesce(model_state(NEW.model, NEW.version), '');
  IF NOT EXISTS (SELECT FROM model_moves m WHERE m.before = earlier
                 AND m.after = NEW.state) THEN
    PERFORM refuse('IL409', 'model.state', format('%s version %s is %s and cannot become %s',
      NEW.model, NEW.version, CASE earlier WHEN '' THEN 'new' ELSE earlier END, NEW.state));
  END IF;
  IF NEW.state <> 'draft' AND NEW.state <> 'retired' AND NOT EXISTS (
    SELECT FROM model_packages WHERE model = NEW.model AND version = NEW.version) THEN
    PERFORM refuse('IL409', 'model.no_package',
      format('%s version %s has no package yet', NEW.model, NEW.version));
  END IF;
  IF NEW.state = 'approved' THEN
    SELECT count(*) INTO given FROM standing_roles(NEW.model, NEW.version);
    IF given < (SELECT CASE tier WHEN 'high' THEN 2 ELSE 1 END FROM models
                 WHERE name = NEW.model) THEN
      PERFORM refuse('IL409', 'approval.missing',
        format('%s version %s lacks a signed approval', NEW.model, NEW.version));
    END IF;
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER model_events_check BEFORE INSERT ON model_events
  FOR EACH ROW EXECUTE FUNCTION check_model_event();

CREATE FUNCTION check_model_approval() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  who users;
BEGIN
  PERFORM one_at_a_time('model', NEW.model || '/' || NEW.version);
  SELECT * INTO who FROM users WHERE email = NEW.approver;
  IF who.kind <> 'person' THEN
    PERFORM refuse('IL403', 'approval.service_account', 'a service account cannot approve');
  END IF;
  IF EXISTS (
    SELECT FROM model_contributors c
    WHERE c.model = NEW.model AND c.version = NEW.version
      AND (c.person = NEW.approver OR person_behind(c.person) = who.mailbox)
  ) OR EXISTS (
    SELECT FROM version_numbers n WHERE n.model = NEW.model AND n.version = NEW.version
      AND person_behind(n.created_by) = who.mailbox
  ) THEN
    PERFORM refuse('IL403', 'approval.own_work', format(
      '%s contributed to %s version %s and cannot approve it',
      NEW.approver, NEW.model, NEW.version), 'somebody who did not work on it has to approve');
  END IF;
  IF who.role NOT IN ('manager', 'compliance_manager') OR who.disabled_at IS NOT NULL
     OR who.role <> NEW.role THEN
    PERFORM refuse('IL403', 'approval.role',
      format('%s is no manager or compliance manager', NEW.approver));
  END IF;
  IF EXISTS (SELECT FROM roster_keys k WHERE k.key_id = NEW.key_id AND k.person <> NEW.approver)
  THEN
    PERFORM refuse('IL403', 'approval.key_of_another',
      format('key %s belongs to somebody else', NEW.key_id));
  END IF;
  IF model_state(NEW.model, NEW.version) IS DISTINCT FROM 'submitted' THEN
    PERFORM refuse('IL409', 'approval.not_submitted',
      format('%s version %s is not submitted', NEW.model, NEW.version));
  END IF;
  IF NEW.package IS DISTINCT FROM (SELECT digest FROM model_packages
      WHERE model = NEW.model AND version = NEW.version) THEN
    PERFORM refuse('IL422', 'approval.package', 'the approval is for another package');
  END IF;
  IF EXISTS (SELECT FROM model_reports r WHERE r.model = NEW.model AND r.version = NEW.version
      AND r.digest <> ALL (NEW.reports)) THEN
    PERFORM refuse('IL422', 'approval.reports', 'the approval does not name every report');
  END IF;
  IF EXISTS (
    SELECT FROM model_reports r
    WHERE r.model = NEW.model AND r.version = NEW.version AND NOT EXISTS (
      SELECT FROM report_openings o WHERE o.model = r.model AND o.version = r.version
        AND o.digest = r.digest AND o.person = NEW.approver)
  ) THEN
    PERFORM refuse('IL409', 'approval.report_unread',
      format('%s has not opened every report of %s version %s',
             NEW.approver, NEW.model, NEW.version), 'open each report first');
  END IF;
  IF NEW.expires_at <= clock_timestamp() THEN
    PERFORM refuse('IL422', 'approval.expired', 'the approval has expired');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER model_approvals_check BEFORE INSERT ON model_approvals
  FOR EACH ROW EXECUTE FUNCTION check_model_approval();

-- A version with everything that is derived about it.
CREATE VIEW model_versions AS
SELECT n.model, n.version, p.digest AS package_digest, p.run_id, n.created_by, n.created_at,
       e.state, e.at AS state_at, e.actor AS state_by,
       ARRAY(SELECT DISTINCT c.person FROM model_contributors c
             WHERE c.model = n.model AND c.version = n.version ORDER BY 1) AS contributors
FROM version_numbers n
LEFT JOIN model_packages p USING (model, version)
LEFT JOIN LATERAL (
  SELECT state, at, actor FROM model_events ev
  WHERE ev.model = n.model AND ev.version = n.version ORDER BY id DESC LIMIT 1
) e ON true;

------------------------------------------------------------------------- endpoints and releases

CREATE TABLE endpoints (
  name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  owner      text NOT NULL REFERENCES users (email),
  slo        jsonb NOT NULL DEFAULT '{}',
  created_by text NOT NULL REFERENCES users (email),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every state a draft was in; the draft is the one with the highest revision. Two editors who both
-- read revision 7 cannot both write revision 8.
CREATE TABLE draft_edits (
  endpoint text NOT NULL REFERENCES endpoints (name),
  revision bigint NOT NULL CHECK (revision > 0),
  content  jsonb NOT NULL,
  editor   text NOT NULL REFERENCES users (email),
  at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (endpoint, revision)
);

CREATE TABLE releases (
  id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  endpoint       text NOT NULL REFERENCES endpoints (name),
  number         int NOT NULL CHECK (number > 0),
  -- Exactly the bytes whose SHA-256 is the digest.
  content        bytea NOT NULL,
  digest         text NOT NULL,
  draft_revision bigint NOT NULL,
  proposed_by    text NOT NULL REFERENCES users (email),
  editors        text[] NOT NULL,
  justification  text NOT NULL CHECK (justification <> ''),
  effective_from timestamptz,
  at             timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (endpoint, number),
  FOREIGN KEY (endpoint, draft_revision) REFERENCES draft_edits (endpoint, revision),
  CHECK (digest = 'sha256:' || encode(sha256(content), 'hex'))
);
CREATE INDEX releases_page ON releases (at DESC, id DESC);

CREATE TABLE release_models (
  release uuid NOT NULL REFERENCES releases (id),
  model   text NOT NULL,
  version int NOT NULL,
  package text NOT NULL,
  PRIMARY KEY (release, model),
  FOREIGN KEY (model, version) REFERENCES model_packages (model, version)
);
CREATE INDEX release_models_version ON release_models (model, version);

CREATE TABLE release_events (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  release uuid NOT NULL REFERENCES releases (id),
  state   text NOT NULL CHECK (state IN ('proposed', 'approved', 'rejected', 'activated')),
  actor   text NOT NULL,
  reason  text NOT NULL DEFAULT '',
  at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX release_events_release ON release_events (release, id DESC);

CREATE TABLE release_approvals (
  release    uuid NOT NULL REFERENCES releases (id),
  approver   text NOT NULL REFERENCES users (email),
  key_id     text NOT NULL,
  envelope   bytea NOT NULL,
  content    text NOT NULL,
  issued_at  timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (release, approver),
  CHECK (expires_at > issued_at)
);
CREATE UNIQUE INDEX release_approvals_once ON release_approvals (sha256(envelope));

CREATE TABLE release_bundles (
  release uuid PRIMARY KEY REFERENCES releases (id),
  bundle  bytea NOT NULL,
  at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What serves, in two times: valid_from says since when it holds, recorded_at since when it is
-- known. The release in service at T is the row with the latest valid_from up to T.
CREATE TABLE activations (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  endpoint    text NOT NULL REFERENCES endpoints (name),
  kind        text NOT NULL CHECK (kind IN ('activate', 'rollback', 'suspend', 'resume')),
  release     uuid REFERENCES releases (id),
  valid_from  timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor       text NOT NULL,
  reason      text NOT NULL DEFAULT '',
  CHECK ((kind IN ('activate', 'rollback')) = (release IS NOT NULL)),
  CHECK (valid_from >= recorded_at - interval '1 minute')
);
CREATE INDEX activations_serving ON activations (endpoint, valid_from DESC, id DESC)
  WHERE kind IN ('activate', 'rollback');
CREATE INDEX activations_switch ON activations (endpoint, id DESC)
  WHERE kind IN ('suspend', 'resume');

-- Who edited what a release says: everybody since the release that was last put into service.
CREATE FUNCTION draft_editors(of_endpoint text, up_to bigint) RETURNS text[]
LANGUAGE sql STABLE AS $$
  SELECT coalesce(array_agg(DISTINCT editor ORDER BY editor), '{}')
  FROM draft_edits
  WHERE endpoint = of_endpoint AND revision <= up_to AND revision > coalesce((
    SELECT max(r.draft_revision) FROM releases r JOIN activations a ON a.release = r.id
    WHERE r.endpoint = of_endpoint AND r.draft_revision < up_to), 0)
$$;

CREATE FUNCTION check_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT NEW.editors @> draft_editors(NEW.endpoint, NEW.draft_revision) THEN
    PERFORM refuse('IL422', 'release.editors', 'the release does not name everybody who edited it');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER releases_check BEFORE INSERT ON releases
  FOR EACH ROW EXECUTE FUNCTION check_release();

CREATE FUNCTION release_state(of_release uuid) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT state FROM release_events WHERE release = of_release ORDER BY id DESC LIMIT 1
$$;

CREATE FUNCTION check_release_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before text;
BEGIN
  PERFORM one_at_a_time('release', NEW.release::text);
  before := coalesce(release_state(NEW.release), '');
  IF (before, NEW.state) NOT IN (('', 'proposed'), ('proposed', 'approved'),
      ('proposed', 'rejected'), ('approved', 'rejected'), ('approved', 'activated'),
      ('activated', 'activated')) THEN
    PERFORM refuse('IL409', CASE WHEN NEW.state = 'activated' THEN 'release.not_approved'
                                 ELSE 'release.state' END,
      format('the release is %s and cannot become %s', before, NEW.state),
      CASE WHEN NEW.state = 'activated' THEN 'somebody who did not edit it has to approve it'
           ELSE '' END);
  END IF;
  IF NEW.state = 'approved' AND NOT EXISTS (
    SELECT FROM release_approvals WHERE release = NEW.release) THEN
    PERFORM refuse('IL409', 'approval.missing', 'the release lacks a signed approval');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER release_events_check BEFORE INSERT ON release_events
  FOR EACH ROW EXECUTE FUNCTION check_release_event();

CREATE FUNCTION check_release_approval() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  who users;
  what releases;
BEGIN
  PERFORM one_at_a_time('release', NEW.release::text);
  SELECT * INTO who FROM users WHERE email = NEW.approver;
  SELECT * INTO what FROM releases WHERE id = NEW.release;
  IF who.kind <> 'person' THEN
    PERFORM refuse('IL403', 'approval.service_account', 'a service account cannot approve');
  END IF;
  IF EXISTS (
    SELECT FROM unnest(what.editors || what.proposed_by) AS editor
    WHERE editor = NEW.approver OR person_behind(editor) = who.mailbox
  ) OR EXISTS (
    SELECT FROM unnest(draft_editors(what.endpoint, what.draft_revision)) AS editor
    WHERE person_behind(editor) = who.mailbox
  ) THEN
    PERFORM refuse('IL403', 'approval.own_edit', format(
      '%s proposed or edited release %s of %s and cannot approve it',
      NEW.approver, what.number, what.endpoint), 'somebody who did not edit it has to approve');
  END IF;
  IF who.role NOT IN ('manager', 'compliance_manager') OR who.disabled_at IS NOT NULL THEN
    PERFORM refuse('IL403', 'approval.role',
      format('%s is no manager or compliance manager', NEW.approver));
  END IF;
  IF EXISTS (SELECT FROM roster_keys k WHERE k.key_id = NEW.key_id AND k.person <> NEW.approver)
  THEN
    PERFORM refuse('IL403', 'approval.key_of_another',
      format('key %s belongs to somebody else', NEW.key_id));
  END IF;
  IF release_state(NEW.release) IS DISTINCT FROM 'proposed' THEN
    PERFORM refuse('IL409', 'release.state',
      format('the release is %s, expected proposed', release_state(NEW.release)));
  END IF;
  IF NEW.content <> what.digest THEN
    PERFORM refuse('IL422', 'approval.content', 'the approval is for another content');
  END IF;
  IF NEW.expires_at <= clock_timestamp() THEN
    PERFORM refuse('IL422', 'approval.expired', 'the approval has expired');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER release_approvals_check BEFORE INSERT ON release_approvals
  FOR EACH ROW EXECUTE FUNCTION check_release_approval();

CREATE FUNCTION check_activation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM one_at_a_time('endpoint', NEW.endpoint);
  IF NEW.release IS NULL THEN
    RETURN NEW;
  END IF;
  IF NEW.endpoint IS DISTINCT FROM (SELECT endpoint FROM releases WHERE id = NEW.release) THEN
    PERFORM refuse('IL422', 'release.endpoint', 'the release belongs to another endpoint');
  END IF;
  IF NOT EXISTS (SELECT FROM release_approvals WHERE release = NEW.release)
     OR release_state(NEW.release) IS DISTINCT FROM 'activated' THEN
    PERFORM refuse('IL409', 'release.not_approved', 'the release is not approved',
      'somebody who did not edit it has to approve it');
  END IF;
  IF NOT EXISTS (SELECT FROM release_bundles WHERE release = NEW.release) THEN
    PERFORM refuse('IL409', 'release.no_bundle', 'the release was never signed');
  END IF;
  IF NEW.kind = 'rollback' AND NOT EXISTS (SELECT FROM activations
      WHERE release = NEW.release AND valid_from <= clock_timestamp()) THEN
    PERFORM refuse('IL409', 'release.never_active', 'this release never served',
      'activate it instead');
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER activations_check BEFORE INSERT ON activations
  FOR EACH ROW EXECUTE FUNCTION check_activation();

CREATE FUNCTION ring_feed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('interlock_feed', TG_TABLE_NAME);
  RETURN NULL;
END
$$;
CREATE TRIGGER activations_ring AFTER INSERT ON activations
  FOR EACH STATEMENT EXECUTE FUNCTION ring_feed();
CREATE TRIGGER rosters_ring AFTER INSERT ON rosters
  FOR EACH STATEMENT EXECUTE FUNCTION ring_feed();

------------------------------------------------------------------------------------ routing keys

CREATE TABLE routing_keys (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name       text NOT NULL CHECK (name <> ''),
  endpoint   text NOT NULL REFERENCES endpoints (name),
  actions    text[] NOT NULL DEFAULT '{predict}',
  key_hash   bytea NOT NULL UNIQUE CHECK (length(key_hash) = 32),
  -- First characters, so that people can tell keys apart.
  hint       text NOT NULL,
  created_by text NOT NULL REFERENCES users (email),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz,
  revoked_at timestamptz,
  replaces   uuid REFERENCES routing_keys (id)
);
CREATE INDEX routing_keys_page ON routing_keys (created_at DESC, id DESC);
CREATE TRIGGER routing_keys_ring AFTER INSERT OR UPDATE ON routing_keys
  FOR EACH STATEMENT EXECUTE FUNCTION ring_feed();

------------------------------------------------------------------------------- feed and heartbeat

CREATE VIEW feed_releases AS
SELECT e.name AS endpoint, r.number, r.digest, b.bundle,
       greatest(a.id, coalesce(s.id, 0)) AS activation,
       coalesce(s.kind = 'suspend', false) OR EXISTS (
         SELECT FROM release_models m JOIN model_events t USING (model, version)
         WHERE m.release = r.id AND t.state = 'terminated') AS suspended
FROM endpoints e
JOIN LATERAL (
  SELECT id, release FROM activations
  WHERE endpoint = e.name AND kind IN ('activate', 'rollback')
    AND valid_from <= clock_timestamp()
  ORDER BY valid_from DESC, id DESC LIMIT 1
) a ON true
JOIN releases r ON r.id = a.release
JOIN release_bundles b ON b.release = r.id
LEFT JOIN LATERAL (
  SELECT id, kind FROM activations
  WHERE endpoint = e.name AND kind IN ('suspend', 'resume')
  ORDER BY id DESC LIMIT 1
) s ON true;

CREATE VIEW feed_keys AS
SELECT id::text AS key_id, key_hash, ARRAY[endpoint] AS endpoints, actions, expires_at, revoked_at
FROM routing_keys;

CREATE VIEW feed_roster AS
SELECT version, envelope FROM rosters ORDER BY version DESC LIMIT 1;

CREATE TABLE node_workers (
  node    text NOT NULL,
  worker  int NOT NULL,
  pid     int NOT NULL,
  port    int NOT NULL,
  loaded  jsonb NOT NULL,
  info    jsonb NOT NULL,
  since   timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (node, worker)
);

CREATE FUNCTION node_heartbeat(
  node text, worker int, pid int, port int, loaded jsonb, info jsonb
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO node_workers AS w (node, worker, pid, port, loaded, info)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (node, worker) DO UPDATE SET
    since = CASE WHEN w.pid = excluded.pid THEN w.since ELSE clock_timestamp() END,
    pid = excluded.pid, port = excluded.port, loaded = excluded.loaded, info = excluded.info,
    seen_at = clock_timestamp()
$$;
REVOKE EXECUTE ON FUNCTION node_heartbeat(text, int, int, int, jsonb, jsonb) FROM PUBLIC;

------------------------------------------------------------------------------ what is append-only

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY[
    'bootstrap', 'rosters', 'roster_keys', 'admin_log', 'version_numbers', 'model_packages',
    'model_contributors', 'model_reports', 'report_openings', 'model_events', 'model_moves',
    'model_approvals', 'model_aliases', 'draft_edits', 'releases', 'release_models',
    'release_events', 'release_approvals', 'release_bundles', 'activations'
  ] LOOP
    EXECUTE format('CREATE TRIGGER keep_rows BEFORE UPDATE OR DELETE ON %I
      FOR EACH ROW EXECUTE FUNCTION keep_history()', name);
    EXECUTE format('CREATE TRIGGER keep_table BEFORE TRUNCATE ON %I
      FOR EACH STATEMENT EXECUTE FUNCTION keep_history()', name);
  END LOOP;
END
$$;

--------------------------------------------------------------------------------- least privilege

GRANT SELECT, INSERT ON
  bootstrap, rosters, roster_keys, admin_log, version_numbers, model_packages, model_contributors,
  model_reports, report_openings, model_events, model_approvals, model_aliases, draft_edits,
  releases, release_models, release_events, release_approvals, release_bundles, activations
TO interlock_control;
GRANT SELECT ON model_moves, node_workers, model_versions, feed_releases, feed_keys, feed_roster
TO interlock_control;
GRANT SELECT, INSERT ON users, service_tokens, sessions, routing_keys, endpoints, models
TO interlock_control;
GRANT UPDATE (name, role, password_hash, allowed, denied, revision, disabled_at) ON users
TO interlock_control;
GRANT UPDATE (revoked_at, expires_at) ON service_tokens, sessions, routing_keys
TO interlock_control;
GRANT UPDATE (owner, slo) ON endpoints TO interlock_control;
GRANT UPDATE (tier) ON models TO interlock_control;
GRANT SELECT, INSERT, DELETE ON login_attempts, sessions TO interlock_control;
GRANT SELECT, INSERT, UPDATE, DELETE ON remembered_answers TO interlock_control;
GRANT DELETE ON node_workers TO interlock_control;

-- The job worker registers what it trained; it approves and releases nothing.
GRANT SELECT (id, email, name, role, kind, owner, disabled_at) ON users TO interlock_worker;
GRANT SELECT ON models, version_numbers, model_packages, model_contributors, model_reports,
  model_events, model_moves, model_versions, model_approvals TO interlock_worker;
GRANT INSERT ON models, version_numbers, model_packages, model_contributors, model_reports,
  model_events, admin_log TO interlock_worker;

GRANT SELECT ON feed_releases, feed_keys, feed_roster TO interlock_router;
GRANT EXECUTE ON FUNCTION node_heartbeat(text, int, int, int, jsonb, jsonb) TO interlock_router;

GRANT SELECT ON admin_log, version_numbers, model_packages, model_contributors, model_reports,
  report_openings, model_events, model_approvals, model_aliases, draft_edits, endpoints, releases,
  release_models, release_events, release_approvals, release_bundles, activations, rosters,
  roster_keys, model_versions TO interlock_auditor;
GRANT SELECT (id, email, mailbox, name, role, kind, owner, allowed, denied, created_at, disabled_at)
  ON users TO interlock_auditor;
