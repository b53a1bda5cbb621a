-- Older releases that callers may ask for by number, where the endpoint's policy keeps any: they
-- were in service, nobody rolled back past them since, and no model of theirs was retired. They
-- are suspended with their endpoint, and by the termination of a model of their own.

CREATE INDEX activations_release ON activations (release, id DESC)
  WHERE kind IN ('activate', 'rollback');

CREATE VIEW feed_pinned AS
SELECT f.endpoint, r.number, r.digest, b.bundle, r.activation,
       coalesce(s.kind = 'suspend', false) OR EXISTS (
         SELECT FROM release_models m JOIN model_events t USING (model, version)
         WHERE m.release = r.id AND t.state = 'terminated') AS suspended
FROM feed_releases f
JOIN LATERAL (
  SELECT o.id, o.number, o.digest, a.id AS activation
  FROM releases o
  JOIN LATERAL (
    SELECT x.id FROM activations x
    WHERE x.release = o.id AND x.kind IN ('activate', 'rollback')
      AND x.valid_from <= clock_timestamp() AND NOT overtaken(x, clock_timestamp())
    ORDER BY x.id DESC LIMIT 1
  ) a ON true
  WHERE o.endpoint = f.endpoint AND o.number < f.number
    AND NOT EXISTS (
      SELECT FROM activations k JOIN releases t ON t.id = k.release
      WHERE k.endpoint = f.endpoint AND k.kind = 'rollback' AND k.id > a.id
        AND k.valid_from <= clock_timestamp() AND t.number < o.number)
    AND NOT EXISTS (
      SELECT FROM release_models m JOIN model_events t USING (model, version)
      WHERE m.release = o.id AND t.state = 'retired')
  ORDER BY o.number DESC LIMIT 8
) r ON true
JOIN release_bundles b ON b.release = r.id
LEFT JOIN LATERAL (
  SELECT kind FROM activations
  WHERE endpoint = f.endpoint AND kind IN ('suspend', 'resume')
  ORDER BY id DESC LIMIT 1
) s ON true;

GRANT SELECT ON feed_pinned TO interlock_router, interlock_control;
