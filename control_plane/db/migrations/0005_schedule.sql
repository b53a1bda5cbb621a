-- A rollback ends what was scheduled before it: an incident is not brought back by a date.
-- With its owner's rights, because routers read the feed and not the tables behind it.
CREATE FUNCTION overtaken(what activations, known_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM activations r
    WHERE r.endpoint = what.endpoint AND r.kind = 'rollback' AND r.id > what.id
      AND r.valid_from < what.valid_from AND r.recorded_at <= known_at)
$$;

CREATE OR REPLACE VIEW feed_releases AS
SELECT e.name AS endpoint, r.number, r.digest, b.bundle,
       greatest(a.id, coalesce(s.id, 0)) AS activation,
       coalesce(s.kind = 'suspend', false) OR EXISTS (
         SELECT FROM release_models m JOIN model_events t USING (model, version)
         WHERE m.release = r.id AND t.state = 'terminated') AS suspended
FROM endpoints e
JOIN LATERAL (
  SELECT x.id, x.release FROM activations x
  WHERE x.endpoint = e.name AND x.kind IN ('activate', 'rollback')
    AND x.valid_from <= clock_timestamp() AND NOT overtaken(x, clock_timestamp())
  ORDER BY x.valid_from DESC, x.id DESC LIMIT 1
) a ON true
JOIN releases r ON r.id = a.release
JOIN release_bundles b ON b.release = r.id
LEFT JOIN LATERAL (
  SELECT id, kind FROM activations
  WHERE endpoint = e.name AND kind IN ('suspend', 'resume')
  ORDER BY id DESC LIMIT 1
) s ON true;
