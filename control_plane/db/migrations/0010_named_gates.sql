-- A refused approval says which gate or section stops it, with both figures.

CREATE OR REPLACE FUNCTION check_gates() RETURNS trigger LANGUAGE plpgsql AS $$
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
      format('validation %s of %s version %s breached %s', newest.number, NEW.model, NEW.version,
        (SELECT string_agg(format('%s %s (found %s)', each->>'gate', each->>'limit',
                                  coalesce(each->>'value', 'no figure')), ', ')
         FROM jsonb_array_elements(newest.gates) AS each WHERE NOT (each->>'held')::boolean)),
      'read its reports; a gate is changed by somebody who may approve');
  END IF;
  RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION check_compliance() RETURNS trigger LANGUAGE plpgsql AS $$
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
      format('%s version %s scores %s, which fails; mandatory sections that lack something: %s',
        NEW.model, NEW.version, newest.overall,
        coalesce((SELECT string_agg(format('%s %s (%s of 100)', each->>'key', each->>'title',
                                           each->>'score'), ', ' ORDER BY each->>'key')
         FROM jsonb_array_elements(newest.score->'sections') AS each
         WHERE (each->>'mandatory')::boolean AND (each->>'score')::float8 < 100),
        'none, see its findings')),
      'GET its compliance setup: it lists what is missing');
  END IF;
  RETURN NEW;
END
$$;
