-- Limits of a routing key, enforced by every router: requests per second over all nodes, how many
-- may come at once, and how many may be in progress on one worker.

ALTER TABLE routing_keys
  ADD COLUMN rate_per_s double precision CHECK (rate_per_s > 0 AND rate_per_s <= 1e6),
  ADD COLUMN burst      int CHECK (burst BETWEEN 1 AND 1000000),
  ADD COLUMN in_flight  int CHECK (in_flight BETWEEN 1 AND 100000),
  ADD CONSTRAINT routing_keys_burst_needs_rate CHECK (burst IS NULL OR rate_per_s IS NOT NULL);

CREATE OR REPLACE VIEW feed_keys AS
SELECT id::text AS key_id, key_hash, ARRAY[endpoint] AS endpoints, actions, expires_at, revoked_at,
       rate_per_s, burst, in_flight
FROM routing_keys;

GRANT UPDATE (rate_per_s, burst, in_flight) ON routing_keys TO interlock_control;
