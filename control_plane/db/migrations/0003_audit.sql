-- The evidence: decisions, linked events, explanations, and the chain that makes them tamper
-- evident. Everything here is only ever appended; what the writers may do is granted at the end.

-- One row per request that named an endpoint. Two levels of partitions: retention class, then day
-- of `received_at`, so that retention drops whole tables. `features`, `context`, `outputs` and
-- `error` are the bytes that were received or sent: hashes are over exactly them.
CREATE TABLE audit_records (
  id              uuid        NOT NULL,  -- UUIDv7 with the milliseconds of received_at
  received_at     timestamptz NOT NULL,
  decided_at      timestamptz NOT NULL,
  endpoint        text        NOT NULL,
  release         bigint      NOT NULL,
  rule            text        NOT NULL,
  unknown         text[]      NOT NULL,
  model           text,
  version         integer,
  package_digest  text,
  key_id          text        NOT NULL,
  request_id      text,
  subject_ref     text,
  decision        text,
  decision_rule   text,
  idempotency_key text,
  part            text,
  status          integer     NOT NULL,
  durability      text        NOT NULL,
  retention_class text        NOT NULL,
  features        bytea       NOT NULL,
  context         bytea,
  defaults        text[]      NOT NULL,
  outputs         bytea,
  error           bytea,
  latency_us      bigint      NOT NULL,
  explain         integer     NOT NULL,
  traceparent     text,
  reason          text,
  rows            bigint      NOT NULL,
  schema_version  integer     NOT NULL,
  writer          text        NOT NULL,  -- node/boot/worker
  seq             bigint      NOT NULL,  -- gapless within the writer
  batch           bigint      NOT NULL,  -- Merkle batch, and the place in it
  leaf            integer     NOT NULL
) PARTITION BY LIST (retention_class);

-- No unique index: the ledger makes rows exactly-once. More indexes are built when a day closes.
CREATE INDEX audit_records_id ON audit_records (id);
CREATE INDEX audit_records_request ON audit_records (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX audit_records_subject ON audit_records (subject_ref, received_at)
  WHERE subject_ref IS NOT NULL;
CREATE INDEX audit_records_time ON audit_records
  USING brin (received_at, batch) WITH (pages_per_range = 32, autosummarize = on);

-- Safety nets: rows of a class or a day that nobody prepared. Any row here raises an alarm.
CREATE TABLE audit_records_stray PARTITION OF audit_records DEFAULT;

-- Values of protected attributes, apart from the record; only the fairness role reads them.
CREATE TABLE audit_protected (
  record_id       uuid        NOT NULL,
  received_at     timestamptz NOT NULL,
  endpoint        text        NOT NULL,
  retention_class text        NOT NULL,
  attributes      jsonb       NOT NULL
);
CREATE INDEX audit_protected_record ON audit_protected (record_id);

-- Linked events: outcomes, overrides, refusal counts, gaps, administrative acts, disposals, reads
-- of decrypted data. `body` is json, not jsonb, because the hash is over its exact text.
CREATE TABLE audit_events (
  id              uuid        PRIMARY KEY DEFAULT uuidv7(),
  at              timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind            text        NOT NULL,
  endpoint        text,
  record_id       uuid,
  subject_ref     text,
  actor           text        NOT NULL,
  body            json        NOT NULL,
  retention_class text        NOT NULL DEFAULT 'default',
  writer          text,       -- set when it came through a spool
  seq             bigint
);
CREATE INDEX audit_events_record ON audit_events (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX audit_events_subject ON audit_events (subject_ref) WHERE subject_ref IS NOT NULL;
CREATE INDEX audit_events_kind ON audit_events (kind, at);

CREATE TABLE audit_explanations (
  id              uuid        NOT NULL,  -- of the record
  received_at     timestamptz NOT NULL,  -- of the record, finds its partition
  endpoint        text        NOT NULL,
  package_digest  text        NOT NULL,
  method          text        NOT NULL,
  space           text        NOT NULL,
  base            double precision,
  phi             jsonb       NOT NULL,
  reasons         text[]      NOT NULL,
  residual        double precision,
  state           text        NOT NULL,  -- done, mismatch, failed
  detail          text,
  created_at      timestamptz NOT NULL,
  batch           bigint      NOT NULL,
  leaf            integer     NOT NULL
);
CREATE INDEX audit_explanations_record ON audit_explanations (id);
CREATE INDEX audit_explanations_batch ON audit_explanations USING brin (batch);

-- Which bytes of which segment are in the tables. A row is written in the transaction that writes
-- their records; two shippers that read the same range collide on the key.
CREATE TABLE audit_ledger (
  node          text        NOT NULL,
  boot          text        NOT NULL,
  worker        integer     NOT NULL,
  segment       bigint      NOT NULL,
  from_off      bigint      NOT NULL,
  to_off        bigint      NOT NULL CHECK (to_off > from_off),
  first_seq     bigint      NOT NULL,  -- lowest and highest sequence in the range; 0 when empty
  last_seq      bigint      NOT NULL,
  records       bigint      NOT NULL,
  part_rows     bigint      NOT NULL,
  events        bigint      NOT NULL,
  quarantined   bigint      NOT NULL,
  dropped       bigint      NOT NULL,
  damaged_bytes bigint      NOT NULL,
  torn_bytes    bigint      NOT NULL,
  answered      bigint      NOT NULL,  -- answers the writer noted by then
  closed        boolean     NOT NULL,  -- nothing follows in this segment
  shipped_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (node, boot, worker, segment, from_off)
);
CREATE INDEX audit_ledger_time ON audit_ledger (shipped_at);

CREATE TABLE audit_quarantine (
  id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  writer   text        NOT NULL,
  segment  bigint      NOT NULL,
  off      bigint      NOT NULL,
  seq      bigint      NOT NULL,
  kind     text        NOT NULL,
  payload  bytea       NOT NULL,
  reason   text        NOT NULL,
  at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (writer, segment, off)
);

-- Merkle batches and their chain.
CREATE SEQUENCE audit_batch_ids;
CREATE TABLE audit_batches (
  id              bigint      PRIMARY KEY,
  kind            text        NOT NULL CHECK (kind IN ('records', 'events', 'explanations')),
  retention_class text        NOT NULL,
  day             date        NOT NULL,
  leaves          integer     NOT NULL CHECK (leaves > 0),
  root            bytea       NOT NULL CHECK (octet_length(root) = 32),
  leaf_hashes     bytea       NOT NULL,  -- in order: tells which row a wrong root is about
  first_at        timestamptz NOT NULL,
  last_at         timestamptz NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  CHECK (octet_length(leaf_hashes) = 32 * leaves)
);
ALTER TABLE audit_batches ALTER COLUMN leaf_hashes SET STORAGE EXTERNAL;  -- hashes do not compress
CREATE INDEX audit_batches_day ON audit_batches (day, retention_class);
CREATE TABLE audit_chain (
  position   bigint      PRIMARY KEY CHECK (position > 0),
  batch      bigint      NOT NULL UNIQUE REFERENCES audit_batches,
  previous   bytea       NOT NULL CHECK (octet_length(previous) = 32),
  head       bytea       NOT NULL CHECK (octet_length(head) = 32),
  chained_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE audit_checkpoints (
  position  bigint      PRIMARY KEY REFERENCES audit_chain,
  head      bytea       NOT NULL,
  key_id    text        NOT NULL,
  envelope  bytea       NOT NULL,  -- DSSE
  signed_at timestamptz NOT NULL
);
CREATE TABLE audit_event_leaves (
  event uuid    PRIMARY KEY REFERENCES audit_events,
  batch bigint  NOT NULL REFERENCES audit_batches,
  leaf  integer NOT NULL,
  UNIQUE (batch, leaf)
);

-- Work lists, not evidence: rows go away when the work is done.
CREATE TABLE audit_unchained (batch bigint PRIMARY KEY);
CREATE TABLE audit_unleaved (event uuid PRIMARY KEY);
CREATE TABLE audit_unexplained (
  batch     bigint  PRIMARY KEY,
  wanted    integer NOT NULL,
  next_leaf integer NOT NULL DEFAULT 0
);

CREATE FUNCTION audit_note_unchained() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO audit_unchained SELECT id FROM fresh;
  RETURN NULL;
END $$;
CREATE TRIGGER audit_batches_unchained AFTER INSERT ON audit_batches
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION audit_note_unchained();

CREATE FUNCTION audit_note_unleaved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO audit_unleaved SELECT id FROM fresh;
  RETURN NULL;
END $$;
CREATE TRIGGER audit_events_unleaved AFTER INSERT ON audit_events
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION audit_note_unleaved();

-- Keys of sensitive features, one per subject, wrapped by the master key. Destroying a key erases
-- what it sealed and leaves every hash as it was.
CREATE TABLE audit_subject_keys (
  subject_ref  text        PRIMARY KEY,
  wrapped      bytea,
  master_id    text        NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  destroyed_at timestamptz,
  CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);

-- How long each retention class is kept; a class without a row is kept for ever.
CREATE TABLE audit_retention (
  retention_class text    PRIMARY KEY,
  keep_days       integer NOT NULL CHECK (keep_days > 0),
  reason          text    NOT NULL,
  legal_hold      boolean NOT NULL DEFAULT false
);
CREATE TABLE audit_disposals (
  partition       text        PRIMARY KEY,
  retention_class text        NOT NULL,
  day             date        NOT NULL,
  rows            bigint      NOT NULL,
  archive         text        NOT NULL,
  archive_digest  text        NOT NULL,
  envelope        bytea,      -- DSSE over the disposal statement
  disposed_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Name of a class's table: the class itself when it is a plain word, else a digest of it.
CREATE FUNCTION audit_class_table(class text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
  SELECT 'audit_records_' || CASE
    WHEN class ~ '^[a-z][a-z0-9_]{0,27}$' AND class !~ '^(stray|.*_[0-9]{8}|.*_stray)$' THEN class
    ELSE 'x' || left(md5(class), 12) END
$$;

-- Makes the day partitions of a class, today's UTC day and `ahead` more (and `from_day` on when it
-- is earlier). Rows that had to wait in a stray table move into their day. Returns the number made.
CREATE FUNCTION ensure_audit_partitions(class text, ahead integer DEFAULT 7, from_day date DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '5s' AS $$
DECLARE
  parent text := audit_class_table(class);
  today date := (now() AT TIME ZONE 'UTC')::date;
  day date;
  child text;
  made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('interlock audit partitions'));
  IF to_regclass(parent) IS NULL THEN
    EXECUTE format('CREATE TABLE %I (LIKE audit_records INCLUDING DEFAULTS)
                    PARTITION BY RANGE (received_at)', parent);
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', parent || '_stray', parent);
    EXECUTE format('WITH moved AS (DELETE FROM audit_records_stray WHERE retention_class = %L
                    RETURNING *) INSERT INTO %I SELECT * FROM moved', class, parent || '_stray');
    EXECUTE format('ALTER TABLE audit_records ATTACH PARTITION %I FOR VALUES IN (%L)',
                   parent, class);
    made := made + 1;
  END IF;
  FOR day IN SELECT generate_series(least(coalesce(from_day, today), today),
                                    today + ahead, interval '1 day')::date LOOP
    child := parent || '_' || to_char(day, 'YYYYMMDD');
    CONTINUE WHEN to_regclass(child) IS NOT NULL
      OR EXISTS (SELECT FROM audit_disposals WHERE partition = child);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', child, parent);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE received_at >= %L AND received_at < %L
                    RETURNING *) INSERT INTO %I SELECT * FROM moved',
                   parent || '_stray', day::timestamp AT TIME ZONE 'UTC',
                   (day + 1)::timestamp AT TIME ZONE 'UTC', child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent,
                   child, day::timestamp AT TIME ZONE 'UTC',
                   (day + 1)::timestamp AT TIME ZONE 'UTC');
    made := made + 1;
  END LOOP;
  RETURN made;
END $$;

-- Every class that exists or that a policy names: what the maintenance keeps ready.
CREATE FUNCTION audit_classes() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT DISTINCT retention_class FROM (
    SELECT retention_class FROM audit_retention
    UNION ALL SELECT 'default'
    UNION ALL SELECT DISTINCT retention_class FROM audit_records_stray
    UNION ALL (SELECT DISTINCT retention_class FROM audit_batches WHERE kind = 'records'
               AND day > (now() AT TIME ZONE 'UTC')::date - 3)
  ) AS known
$$;

-- Rows outside the prepared partitions: anything but zero is an alarm.
CREATE FUNCTION audit_stray_rows() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public AS $$
DECLARE
  child text;
  found bigint;
  total bigint := 0;
BEGIN
  FOR child IN SELECT c.relname FROM pg_partition_tree('audit_records') AS t
               JOIN pg_class AS c ON c.oid = t.relid
               WHERE t.isleaf AND c.relname ~ '_stray$' LOOP
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %I LIMIT 100000) AS sample', child) INTO found;
    total := total + found;
  END LOOP;
  RETURN total;
END $$;

-- Indexes for the examiner's other questions, built once a day is over: they would halve COPY.
-- Returns the name of the partition it finished, or null when none is due.
CREATE FUNCTION close_audit_partition(until_day date DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '5s' AS $$
DECLARE
  due date := coalesce(until_day, (now() AT TIME ZONE 'UTC')::date - 1);
  child text;
BEGIN
  SELECT c.relname INTO child
    FROM pg_partition_tree('audit_records') AS t JOIN pg_class AS c ON c.oid = t.relid
   WHERE t.isleaf
     AND CASE WHEN c.relname ~ '_[0-9]{8}$' THEN to_date(right(c.relname, 8), 'YYYYMMDD') END < due
     AND NOT EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
                      WHERE i.indrelid = c.oid AND x.relname = c.relname || '_q_key')
   ORDER BY right(c.relname, 8) LIMIT 1;
  IF child IS NULL THEN
    RETURN NULL;
  END IF;
  EXECUTE format('CREATE INDEX %I ON %I (endpoint, received_at)', child || '_q_endpoint', child);
  EXECUTE format('CREATE INDEX %I ON %I (model, version, received_at)', child || '_q_model', child);
  EXECUTE format('CREATE INDEX %I ON %I (rule, received_at)', child || '_q_rule', child);
  EXECUTE format('CREATE INDEX %I ON %I (decision, received_at)', child || '_q_decision', child);
  EXECUTE format('CREATE INDEX %I ON %I (key_id, received_at)', child || '_q_key', child);
  RETURN child;
END $$;

-- Days that retention may dispose of: older than their class is kept, without a legal hold.
CREATE FUNCTION audit_disposable() RETURNS TABLE (partition text, retention_class text, day date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  -- The cases keep the planner from reading a date out of other names.
  SELECT c.relname::text, r.retention_class,
         CASE WHEN c.relname ~ '_[0-9]{8}$' THEN to_date(right(c.relname, 8), 'YYYYMMDD') END
    FROM audit_retention AS r
    JOIN pg_class AS c ON c.relkind = 'r'
     AND c.relname ~ ('^' || audit_class_table(r.retention_class) || '_[0-9]{8}$')
   WHERE NOT r.legal_hold
     AND CASE WHEN c.relname ~ '_[0-9]{8}$' THEN to_date(right(c.relname, 8), 'YYYYMMDD') END
         < (now() AT TIME ZONE 'UTC')::date - r.keep_days
   ORDER BY 3, 1
$$;

-- Detaches and drops one day that its policy allows, leaving the disposal row. The archive has been
-- written and re-read by the caller; the count guards against rows that came meanwhile.
CREATE FUNCTION dispose_audit_partition(
  wanted text, expected_rows bigint, archive text, archive_digest text, envelope bytea)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '5s' AS $$
DECLARE
  class text;
  its_day date;
  parent text;
  found bigint;
BEGIN
  SELECT d.retention_class, d.day INTO class, its_day FROM audit_disposable() AS d
   WHERE d.partition = wanted;
  IF class IS NULL THEN
    RAISE EXCEPTION 'partition % is not disposable', wanted USING ERRCODE = 'raise_exception';
  END IF;
  parent := audit_class_table(class);
  EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, wanted);
  EXECUTE format('SELECT count(*) FROM %I', wanted) INTO found;
  IF found <> expected_rows THEN
    RAISE EXCEPTION 'partition % holds % rows, the archive %', wanted, found, expected_rows;
  END IF;
  INSERT INTO audit_disposals VALUES
    (wanted, class, its_day, found, archive, archive_digest, envelope);
  DELETE FROM audit_protected WHERE audit_protected.retention_class = class
    AND received_at >= its_day::timestamp AT TIME ZONE 'UTC'
    AND received_at < (its_day + 1)::timestamp AT TIME ZONE 'UTC';
  EXECUTE format('DROP TABLE %I', wanted);
END $$;

SELECT ensure_audit_partitions('default');

-- What people and tools read: the received bytes as JSON.
CREATE VIEW audit_decisions AS
SELECT id, received_at, decided_at, endpoint, release, rule, unknown, model, version,
       package_digest, key_id, request_id, subject_ref, decision, decision_rule, idempotency_key,
       part, status, durability, retention_class,
       convert_from(features, 'UTF8')::json AS features,
       convert_from(context, 'UTF8')::json AS context, defaults,
       convert_from(outputs, 'UTF8')::json AS outputs,
       convert_from(error, 'UTF8')::json AS error,
       latency_us, explain, traceparent, reason, rows, writer, seq, batch, leaf
  FROM audit_records;

-- The fairness role is only known here: it reads what no other role may.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'interlock_fairness') THEN
    BEGIN
      CREATE ROLE interlock_fairness NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      RAISE NOTICE 'role interlock_fairness was created meanwhile';
    END;
  END IF;
END $$;

REVOKE ALL ON FUNCTION ensure_audit_partitions, close_audit_partition, audit_disposable,
  dispose_audit_partition, audit_stray_rows, audit_classes FROM PUBLIC;

-- The shipper inserts evidence and cannot change it. It deletes only from work lists.
GRANT INSERT ON audit_records, audit_protected, audit_events, audit_quarantine, audit_ledger,
  audit_batches, audit_chain, audit_checkpoints, audit_event_leaves, audit_unexplained
  TO interlock_shipper;
GRANT SELECT ON audit_records, audit_events, audit_ledger, audit_batches, audit_chain,
  audit_checkpoints, audit_event_leaves, audit_unchained, audit_unleaved, audit_retention,
  audit_disposals TO interlock_shipper;
GRANT SELECT, INSERT ON audit_subject_keys TO interlock_shipper;
GRANT DELETE ON audit_unchained, audit_unleaved TO interlock_shipper;
GRANT USAGE ON SEQUENCE audit_batch_ids TO interlock_shipper, interlock_explainer;
GRANT EXECUTE ON FUNCTION ensure_audit_partitions, close_audit_partition, audit_disposable,
  dispose_audit_partition, audit_stray_rows, audit_classes TO interlock_shipper;

GRANT SELECT ON audit_records, audit_batches, audit_subject_keys TO interlock_explainer;
GRANT INSERT ON audit_explanations, audit_batches TO interlock_explainer;
GRANT SELECT, UPDATE (next_leaf), DELETE ON audit_unexplained TO interlock_explainer;

GRANT INSERT ON audit_events
  TO interlock_control, interlock_worker, interlock_router, interlock_explainer;
GRANT SELECT ON audit_records, audit_decisions, audit_events, audit_explanations, audit_ledger,
  audit_quarantine, audit_batches, audit_chain, audit_checkpoints, audit_event_leaves,
  audit_unchained, audit_unleaved, audit_unexplained, audit_retention, audit_disposals
  TO interlock_control, interlock_worker, interlock_auditor;
GRANT SELECT, UPDATE ON audit_subject_keys TO interlock_control;
GRANT INSERT, UPDATE ON audit_retention TO interlock_control;
GRANT EXECUTE ON FUNCTION audit_stray_rows TO interlock_control, interlock_auditor;
GRANT SELECT ON audit_protected TO interlock_fairness;
GRANT interlock_fairness TO interlock_worker;
