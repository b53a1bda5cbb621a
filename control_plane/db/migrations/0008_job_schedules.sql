-- Recurring jobs: what to ask for, how often, and when it is due next. A run is queued in the
-- transaction that moves next_at on, so that two control planes never queue it twice.

CREATE TABLE job_schedules (
  name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  kind       text NOT NULL CHECK (kind IN ('import', 'validate')),
  target     text NOT NULL CHECK (length(target) BETWEEN 1 AND 200),
  request    jsonb NOT NULL,
  every_s    bigint NOT NULL CHECK (every_s BETWEEN 60 AND 31622400),
  next_at    timestamptz NOT NULL,
  paused     boolean NOT NULL DEFAULT false,
  created_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_at    timestamptz,
  last_job   uuid,
  last_error text
);
CREATE INDEX job_schedules_due ON job_schedules (next_at) WHERE NOT paused;

GRANT SELECT, INSERT, UPDATE, DELETE ON job_schedules TO interlock_control;
